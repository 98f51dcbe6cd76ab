"""Gradients of a measure with respect to what every receiver reads from the residual stream."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from circuitkit.interventions.differentiable_run import DifferentiableRun, RunFromStage, without_weight_gradients
from circuitkit.interventions.window import AtAnswer
from circuitkit.models.affine import Affine

Measure = Callable[[Float[Tensor, "row d_model"]], Float[Tensor, " row"]]
"""From the residual stream behind the last block at the answer position to a number for every prompt."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReceiverGradients:
    """Of some receivers that read the stream behind one stage.

    Attributes:
        stage: The stage; see `DifferentiableRun`.
        rows: Where they stand in `EdgeSpace.receivers`.
        gradients: Of the measure, with respect to what each of them reads, before any norm of its own.
    """

    stage: int
    rows: slice
    gradients: Float[Tensor, "receiver row pos d_model"]


def receiver_gradients(runner: RunFromStage, run: DifferentiableRun, measure: Measure) -> Iterator[ReceiverGradients]:
    """Gradients with respect to the streams of all receivers behind the stage that a run starts from.

    A head's queries, keys and values are read by three receivers; where heads share keys and values, each has a view
    of its own. Receivers of one stage come together, so that no more has to be held at a time.

    Args:
        runner: The model and its prompts.
        run: A run of it; its graph is used up.
        measure: What is differentiated.
    """
    info = runner.model.info
    final, per_block = run.streams[runner.last_stage], 3 * info.n_heads + 1
    with torch.enable_grad(), without_weight_gradients(runner.model.raw):
        at_answer = AtAnswer(positions=runner.rows.answer_pos).of(final)[:, 0]
        value = measure(at_answer).sum()
        targets = [final, *run.mlp_reads.values(), *(x for some in run.heads.values() for x in some)]
        found = torch.autograd.grad(value, targets)
    yield ReceiverGradients(
        stage=runner.last_stage, rows=slice(info.n_layers * per_block, None), gradients=found[0][None]
    )
    for layer, gradient in zip(run.mlp_reads, found[1:], strict=False):
        end = (layer + 1) * per_block
        yield ReceiverGradients(stage=2 * layer + 1, rows=slice(end - 1, end), gradients=gradient[None])
    of_heads = found[1 + len(run.mlp_reads) :]
    for i, layer in enumerate(run.heads):
        gradients = _through_projections(runner, run, layer, of_heads[3 * i : 3 * i + 3])
        start = layer * per_block
        yield ReceiverGradients(stage=2 * layer, rows=slice(start, start + per_block - 1), gradients=gradients)


def _through_projections(
    runner: RunFromStage, run: DifferentiableRun, layer: int, of_heads: tuple[Tensor, ...]
) -> Float[Tensor, "receiver row pos d_model"]:
    """From queries, keys and values to what the attention's norm reads; receivers head by head, q, k and v."""
    model, block = runner.model, runner.blocks[layer]
    maps = model.family.projections(block)

    def read(some: Affine, gradient: Float[Tensor, "row pos width"]) -> Float[Tensor, "head row pos d_model"]:
        matrix = rearrange(some.weight.detach(), "d (head d_head) -> head d_head d", d_head=model.info.d_head)
        matrix = repeat(matrix, "kv d_head d -> (kv shared) d_head d", shared=model.info.n_heads // len(matrix))
        heads = rearrange(gradient, "row pos (head d_head) -> head row pos d_head", d_head=model.info.d_head)
        return einsum(heads, matrix, "head row pos d_head, head d_head d -> head row pos d")

    stacked = torch.stack([read(some, g) for some, g in zip((maps.q, maps.k, maps.v), of_heads, strict=True)], 1)
    gradients = rearrange(stacked, "head input row pos d -> (head input) row pos d")
    if not model.family.pre_norm:
        return gradients  # the attention reads the stream itself
    return _pulled(lambda x: model.family.attention_norm(block, x), run.streams[2 * layer], gradients)


def before_stage(
    runner: RunFromStage,
    run: DifferentiableRun,
    stage: int,
    gradients: Float[Tensor, "receiver row pos d_model"],
) -> Float[Tensor, "receiver row pos d_model"]:
    """From the stream behind a stage to the sum that its norm reads (post-LN): what is before it plus what it writes.

    Args:
        runner: The model and its prompts.
        run: The run around which norms are linear.
        stage: The stage.
        gradients: With respect to the stream behind it.
    """
    return _pulled(lambda x: runner.add(stage, x, run.writes[stage].clone()), run.streams[stage - 1], gradients)


def _pulled(
    function: Callable[[Tensor], Tensor],
    at: Float[Tensor, "row pos d_model"],
    gradients: Float[Tensor, "receiver row pos d_model"],
) -> Float[Tensor, "receiver row pos d_model"]:
    """Gradients with respect to a function's argument from those with respect to its value, all at one point."""
    with torch.enable_grad():
        argument = at.detach().requires_grad_()
        (found,) = torch.autograd.grad(function(argument), argument, gradients, is_grads_batched=True)
    return found
