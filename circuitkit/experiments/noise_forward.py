"""Noise in the student's own run: later layers read it, and ablations are measured with it."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from circuitkit.alignment.settings import BatchSize
from circuitkit.alignment.stream import row_chunks
from circuitkit.core.component import Component
from circuitkit.experiments.noise_draws import NoiseDraw
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.rows import Rows, logit_diff, take
from circuitkit.interventions.sweep import Sweep
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Values:
    """What replaces ablated activations: z and MLP outputs by layer, one row a prompt."""

    z: dict[int, Float[Tensor, "prompt pos head d_head"]]
    mlp: dict[int, Float[Tensor, "prompt pos d_model"]]


class NoisyStudent:
    """A model that shares a student's weights and adds noise to every head's values and every MLP's output.

    The noise belongs to the components: it is in what is captured, what is ablated is ablated with it, and the means
    that replace it have it too. It is the same for all prompts.

    Args:
        model: The student; it is left as it is.
    """

    def __init__(self, model: HookedModel) -> None:
        self._noise: NoiseDraw | None = None
        raw = model.eager_clone()
        # hooks of the clone's own: they stay with it, and with the eager clone that it makes of itself for patterns
        for layer, block in enumerate(model.family.blocks(raw)):
            model.family.out_proj(block).register_forward_pre_hook(_on_input(self._added("z", layer)), with_kwargs=True)
            model.family.mlp(block).register_forward_hook(_on_output(self._added("mlp", layer)))
        self.model = HookedModel(
            raw=raw, tokenizer=model.tokenizer, family=model.family, name=f"{model.info.name} with noise"
        )

    def _added(self, kind: str, layer: int) -> Change:
        def change(x: Tensor) -> Tensor:
            if self._noise is None:
                return x
            noise = getattr(self._noise, kind)[layer, : x.shape[1]]
            flat = rearrange(noise, "pos head d -> pos (head d)") if noise.ndim == 3 else noise
            return x + flat.to(x)

        return change

    @contextmanager
    def under(self, noise: NoiseDraw) -> Generator[HookedModel]:
        """The model with this noise while the block runs."""
        self._noise = noise
        try:
            yield self.model
        finally:
            self._noise = None


@torch.no_grad()
def plain_sweep(model: HookedModel, batch: PromptBatch, ablation: Ablation, *, batch_size: BatchSize = "auto") -> Sweep:
    """Ablate every component by hooks in a full forward pass each: what `sweep` gives, without replay.

    Hooks that a model has of its own, such as noise, count in every pass; a replay from kept activations would add
    noise at other positions.

    Args:
        model: The model.
        batch: The prompts.
        ablation: What replaces an activation.
        batch_size: Prompts run at a time, at most.
    """
    values = _replacement(model, batch, ablation, batch_size)
    n = len(batch.pairs)
    clean, ablated = torch.zeros(n), torch.zeros(len(model.components), n)
    for rows in row_chunks(model, batch, batch_size=batch_size):
        taken = take(batch.clean, rows, model)
        clean[rows] = _difference(model, batch, taken, rows)
        for i, component in enumerate(model.components):
            with _ablated(model, component, values, rows):
                ablated[i, rows] = _difference(model, batch, taken, rows)
    return Sweep(components=model.components, clean=clean, ablated=ablated)


def _difference(
    model: HookedModel, batch: PromptBatch, taken: Rows, rows: Int[Tensor, " row"]
) -> Float[Tensor, " row"]:
    logits = model.answer_logits(taken.ids, taken.mask, taken.answer_pos)
    return logit_diff(logits, batch.correct_ids[rows], batch.incorrect_ids[rows]).cpu()


@contextmanager
def _ablated(model: HookedModel, component: Component, values: _Values, rows: Int[Tensor, " row"]) -> Generator[None]:
    """One component replaced in these prompts while the block runs."""
    layer, head = component.layer, component.head
    block = model.family.blocks(model.raw)[layer]

    def change(x: Tensor) -> Tensor:
        if head is None:
            return values.mlp[layer][rows, : x.shape[1]].to(x)
        z = rearrange(x, "row pos (head d) -> row pos head d", head=model.info.n_heads).clone()
        z[:, :, head] = values.z[layer][rows, : x.shape[1], head].to(x)
        return rearrange(z, "row pos head d -> row pos (head d)")

    with ExitStack() as stack:
        handle = (
            model.family.mlp(block).register_forward_hook(_on_output(change))
            if head is None
            else model.family.out_proj(block).register_forward_pre_hook(_on_input(change), with_kwargs=True)
        )
        stack.callback(handle.remove)
        yield


def _on_input(change: Change) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (change(cast(Tensor, args[0])), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(cast(Tensor, kwargs["hidden_states"]))}

    return hook


def _on_output(change: Change) -> Callable[..., Any]:
    def hook(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
        return change(output)

    return hook


def _replacement(model: HookedModel, batch: PromptBatch, ablation: Ablation, batch_size: BatchSize) -> _Values:
    """The values that stand in for ablated activations, of every layer and prompt (ALIGNMENT definitions 2)."""
    block = batch.clean if ablation in (Ablation.MEAN, Ablation.ZERO) else batch.corrupted
    assert block is not None  # prompts were drawn with their partners for the ablations that need them
    z, mlp = _activations(model, batch, block, batch_size)
    if ablation is Ablation.RESAMPLE:
        return _Values(z=z, mlp=mlp)
    if ablation is Ablation.ZERO:
        return _Values(
            z={layer: torch.zeros_like(x) for layer, x in z.items()},
            mlp={layer: torch.zeros_like(x) for layer, x in mlp.items()},
        )
    return _Values(
        z={layer: _means(x, batch, block) for layer, x in z.items()},
        mlp={layer: _means(x, batch, block) for layer, x in mlp.items()},
    )


def _activations(
    model: HookedModel, batch: PromptBatch, block: TokenBlock, batch_size: BatchSize
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    info, (n, length) = model.info, block.ids.shape
    layers = range(info.n_layers)
    z = {layer: torch.zeros(n, length, info.n_heads, info.d_head) for layer in layers}
    mlp = {layer: torch.zeros(n, length, info.d_model) for layer in layers}
    for rows in row_chunks(model, batch, batch_size=batch_size):
        taken = take(block, rows, model)
        found = model.capture(taken.ids, taken.mask, ["z", "mlp_out"])
        for layer in layers:
            z[layer][rows, : taken.ids.shape[1]] = found["z"][layer].float().cpu()
            mlp[layer][rows, : taken.ids.shape[1]] = found["mlp_out"][layer].float().cpu()
    return z, mlp


def _means(
    x: Float[Tensor, "prompt pos *rest"], batch: PromptBatch, block: TokenBlock
) -> Float[Tensor, "prompt pos *rest"]:
    """Mean over the prompts of each group by position; over all tokens where prompts cannot be grouped."""
    if not batch.positional:
        mean = x[block.mask].double().mean(0)
        return mean.to(x.dtype).expand_as(x)
    out = torch.empty_like(x)
    for group in batch.group.unique():
        chosen: Bool[Tensor, " prompt"] = batch.group == group
        out[chosen] = reduce(x[chosen].double(), "prompt ... -> 1 ...", "mean").to(x.dtype)
    return out
