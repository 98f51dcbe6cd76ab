"""Attribution patching: a first-order estimate of every ablation from one forward and one backward pass."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitkit.core.component import Component
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.memory import is_out_of_memory
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.differentiable_run import without_weight_gradients
from circuitkit.interventions.engine import PROMPTS_PER_SHARD
from circuitkit.interventions.replacement import Replacement, Values, replacement
from circuitkit.interventions.row_budget import BatchSize, RowBudget
from circuitkit.interventions.rows import Rows, logit_diff, shards, take
from circuitkit.interventions.sweep import Sweep
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


def estimate_sweep(
    model: HookedModel,
    batch: PromptBatch,
    *,
    source: Ablation | Replacement = Ablation.CORRUPTED_MEAN,
    batch_size: BatchSize = "auto",
    store: ShardStore | None = None,
    stage: str = "gradients",
    progress: Progress = silent,
) -> Sweep:
    """Estimate what `sweep` measures, by attribution patching: one forward and one backward pass a prompt.

    Args:
        model: The model.
        batch: Prompts; results keep their order.
        source: What replaces an activation: an ablation, or its values.
        batch_size: Rows run at a time, where that is fewer than a shard has.
        store: Where finished shards are kept and found again.
        stage: Name of this work in progress reports.
        progress: Called as shards advance; units are prompts.

    Raises:
        OptionError: The ablation cannot be done on this task, the batch size is not positive, or memory is short.
        ModelError: Estimates are not finite.
    """
    asked = RowBudget(model, batch_size).rows(1)
    n_prompts, limit = len(batch.pairs), PROMPTS_PER_SHARD if batch_size == "auto" else asked
    clean, ablated = torch.zeros(n_prompts), torch.zeros(len(model.components), n_prompts)
    values: Replacement | None = None
    done = 0
    for number, rows in enumerate(shards(batch, PROMPTS_PER_SHARD)):
        found = store.load(f"{number:05d}") if store else None
        if found is None:
            if values is None:
                values = replacement(model, batch, source) if isinstance(source, Ablation) else source
            found = _shard(model, batch, rows, values=values, limit=limit)
            if not all(bool(value.isfinite().all()) for value in found.values()):
                raise ModelError(
                    f"Gradients of {model.info.name!r} are not finite numbers in {model.dtype}; use --method exact, or "
                    "try --dtype float32."
                )
            if store:
                store.save(f"{number:05d}", found)
        clean[rows], ablated[:, rows] = found["clean"], found["estimate"]
        done += len(rows)
        progress(stage, done, n_prompts)
    return Sweep(components=model.components, clean=clean, ablated=ablated)


def _shard(
    model: HookedModel, batch: PromptBatch, rows: Int[Tensor, " row"], *, values: Replacement, limit: int
) -> dict[str, Tensor]:
    """One shard, in halves where it is too large for `limit` or for the memory."""
    if len(rows) <= limit:
        taken = take(batch.clean, rows, model)
        try:
            return attribution(
                model,
                taken,
                values(rows, taken.ids.shape[1]),
                correct=batch.correct_ids[rows],
                incorrect=batch.incorrect_ids[rows],
            )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise OptionError(
                    f"Out of memory on {model.device} with the gradients of {model.info.name!r} on one prompt; use "
                    "--method exact, --dtype bfloat16, or a device with more memory."
                ) from error
    halves = [_shard(model, batch, half, values=values, limit=limit) for half in rows.tensor_split(2)]
    return {name: torch.cat([half[name] for half in halves], dim=-1) for name in ("clean", "estimate")}


def attribution(
    model: HookedModel,
    rows: Rows,
    values: Values,
    *,
    correct: Int[Tensor, " row"],
    incorrect: Int[Tensor, " row"],
) -> dict[str, Tensor]:
    """Estimate the logit difference under the ablation of every component, one at a time, to first order.

    The estimate for component c is `clean + sum (replacement - activation) * d(logit difference)/d(activation)`
    over the positions and features of c, where the activation is the head's z or the MLP's output (attribution
    patching: Nanda 2023; Syed, Rager & Conmy 2023, arXiv 2310.10348). It is exact where the logit difference is
    linear in the activation, and misleads most where a norm follows a large write, as behind early MLPs (Kramar
    et al. 2024, arXiv 2403.00745). Weights get no gradients; what is kept in memory grows with the rows only.

    Args:
        model: The model; its dtype is the dtype of the gradients.
        rows: The prompts, run together.
        values: What replaces activations.
        correct: Token id of each prompt's correct answer.
        incorrect: Token id of each prompt's incorrect answer.

    Returns:
        `clean` [row]: logit difference of the intact model; `estimate` [component, row]: estimated logit
        difference with each of `model.components` ablated. Both in logits, float32, on the CPU.
    """
    found = answer_slopes(model, rows, correct=correct, incorrect=incorrect)
    effects: dict[Component, Tensor] = {}
    for n, (z, of_z) in found.z.items():
        for head, effect in enumerate(_head_effects(z, values.z(n), of_z)):
            effects[Component(n, head)] = effect
        mlp, of_mlp = found.mlp[n]
        effects[Component(n)] = _effect(mlp, values.mlp(n), of_mlp)
    intact = found.clean.cpu()
    return {"clean": intact, "estimate": torch.stack([intact + effects[c].cpu() for c in model.components])}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slopes:
    """What one forward and one backward pass tell of every component, by layer; nothing keeps a graph.

    Attributes:
        clean: Logit difference of the intact model, in logits.
        z: Head values, heads side by side, and the slope of the logit difference by them.
        mlp: MLP outputs and the slope by them.
    """

    clean: Float[Tensor, " row"]
    z: dict[int, tuple[Float[Tensor, "row pos width"], Float[Tensor, "row pos width"]]]
    mlp: dict[int, tuple[Float[Tensor, "row pos d_model"], Float[Tensor, "row pos d_model"]]]


def answer_slopes(
    model: HookedModel, rows: Rows, *, correct: Int[Tensor, " row"], incorrect: Int[Tensor, " row"]
) -> Slopes:
    """Slopes of the logit difference by every activation; for the arguments see `attribution`."""
    z: dict[int, Tensor] = {}
    mlp: dict[int, Tensor] = {}
    with torch.enable_grad(), _watched(model, z, mlp):
        hidden = model.family.hidden(model.raw, rows.ids, rows.mask)
        index = torch.arange(len(rows.ids), device=hidden.device)
        at_answer = hidden[index, rows.answer_pos.to(hidden.device)]
        clean = logit_diff(model.family.head(model.raw, at_answer), correct, incorrect)
        layers = sorted(z)
        grads = torch.autograd.grad(clean.sum(), [*(z[n] for n in layers), *(mlp[n] for n in layers)])
    of_z, of_mlp = (dict(zip(layers, some, strict=True)) for some in (grads[: len(layers)], grads[len(layers) :]))
    return Slopes(
        clean=clean.detach(),
        z={n: (z[n].detach(), of_z[n]) for n in layers},
        mlp={n: (mlp[n].detach(), of_mlp[n]) for n in layers},
    )


def _head_effects(
    z: Float[Tensor, "row pos width"],
    new: Float[Tensor, "#row #pos head d_head"],
    gradient: Float[Tensor, "row pos width"],
) -> Float[Tensor, "head row"]:
    heads = new.shape[2]
    clean, slope = (rearrange(x.float(), "row pos (head d) -> row pos head d", head=heads) for x in (z, gradient))
    return einsum(new.to(clean) - clean, slope, "row pos head d, row pos head d -> head row")


def _effect(
    written: Float[Tensor, "row pos d_model"],
    new: Float[Tensor, "#row #pos d_model"],
    gradient: Float[Tensor, "row pos d_model"],
) -> Float[Tensor, " row"]:
    return einsum(new.to(gradient.device).float() - written.float(), gradient.float(), "row pos d, row pos d -> row")


@contextmanager
def _watched(model: HookedModel, z: dict[int, Tensor], mlp: dict[int, Tensor]) -> Generator[None]:
    """Keep z and the MLPs' outputs inside the graph, which starts at the first block; weights stay outside of it."""

    def start_graph(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (cast(Tensor, args[0]).detach().requires_grad_(), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": cast(Tensor, kwargs["hidden_states"]).detach().requires_grad_()}

    family = model.family
    blocks = family.blocks(model.raw)
    with ExitStack() as stack:
        stack.enter_context(without_weight_gradients(model.raw))
        stack.callback(blocks[0].register_forward_pre_hook(start_graph, with_kwargs=True).remove)
        for n, block in enumerate(blocks):

            def keep_input(_module: nn.Module, args: tuple[Any, ...], n: int = n) -> None:
                z[n] = cast(Tensor, args[0])

            def keep_output(_module: nn.Module, _args: tuple[Any, ...], output: Tensor, n: int = n) -> None:
                mlp[n] = output

            stack.callback(family.out_proj(block).register_forward_pre_hook(keep_input).remove)
            stack.callback(family.mlp(block).register_forward_hook(keep_output).remove)
        yield
