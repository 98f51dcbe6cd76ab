"""Cosines of MLP outputs of two models token by token, with the cosine of mismatched prompts beside them."""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.alignment.positions import SharedPositions
from circuitkit.alignment.settings import BatchSize
from circuitkit.alignment.stream import capture_rows, row_chunks
from circuitkit.core.progress import Progress, silent
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MlpCosines:
    """Mean cosine of a prompt's MLP outputs, teacher's with student's, -1 to 1.

    Attributes:
        first: At its first token.
        other: Mean over its other tokens; not a number where it has none.
        every: Mean over all its tokens.
        mismatched: As `every`, with the student's outputs taken from another prompt of the same structure; not a
            number where there is no other.
    """

    first: Float[Tensor, "prompt teacher_mlp student_mlp"]
    other: Float[Tensor, "prompt teacher_mlp student_mlp"]
    every: Float[Tensor, "prompt teacher_mlp student_mlp"]
    mismatched: Float[Tensor, "prompt teacher_mlp student_mlp"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Outputs:
    """Outputs of length 1 (0 where there is none) and where there are any."""

    unit: Float[Tensor, "mlp row unit d_model"]
    present: Bool[Tensor, "row unit"]


def mlp_cosines(
    models: tuple[HookedModel, HookedModel],
    batches: tuple[PromptBatch, PromptBatch],
    shared: SharedPositions,
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = silent,
) -> MlpCosines:
    """Run the clean prompts of both models, a few at a time; the student's once more for the mismatched prompts.

    Args:
        models: Teacher and student, of one width.
        batches: The same prompts for either.
        shared: Positions that they share; tokens, or words where they tokenise differently.
        batch_size: Prompts run at a time, at most.
        progress: Called as prompts are done.
    """
    partner = partners(shared)
    n = len(partner)
    shape = n, models[0].info.n_layers, models[1].info.n_layers
    kept = {
        name: torch.full(shape, torch.nan, dtype=torch.float64) for name in ("first", "other", "every", "mismatched")
    }
    for rows in row_chunks(models[0], batches[0], batch_size=batch_size):
        teacher, student = (_outputs(m, b, shared, rows) for m, b in zip(models, batches, strict=True))
        cosine, present = _cosine(teacher, student), teacher.present
        start = torch.zeros_like(present)
        start[torch.arange(len(rows)), present.int().argmax(1)] = True
        kept["first"][rows] = _mean(cosine, start)
        kept["other"][rows] = _mean(cosine, present & ~start)
        kept["every"][rows] = _mean(cosine, present)
        has = partner[rows] >= 0
        if bool(has.any()):
            swapped = _outputs(models[1], batches[1], shared, partner[rows[has]])
            alone = _Outputs(unit=teacher.unit[:, has], present=present[has])
            against = _cosine(alone, swapped)  # cut to the longest of these prompts
            kept["mismatched"][rows[has]] = _mean(against, alone.present[:, : against.shape[-1]])
        progress("cosines of MLPs", int(rows[-1]) + 1, n)
    return MlpCosines(**kept)


def stream_cosines(
    models: tuple[HookedModel, HookedModel],
    batches: tuple[PromptBatch, PromptBatch],
    shared: SharedPositions,
    *,
    batch_size: BatchSize = "auto",
    progress: Progress = silent,
) -> Float[Tensor, "teacher_layer student_layer"]:
    """Cosine of the mean residual stream behind each layer, over all tokens of all clean prompts.

    What the notebooks of Distilled Circuits print as the cosine of BERT's MLPs (Appendix I). For the arguments see
    `mlp_cosines`.
    """
    sums = [torch.zeros(m.info.n_layers, m.info.d_model, dtype=torch.float64) for m in models]
    n = batches[0].clean.mask.shape[0]
    for rows in row_chunks(models[0], batches[0], batch_size=batch_size):
        for side, (model, batch) in enumerate(zip(models, batches, strict=True)):
            layers = range(model.info.n_layers)
            found = capture_rows(model, batch, shared, rows, points=["resid_post"], layers=layers)
            x = torch.stack([found.units.activations(found.found["resid_post"][layer]) for layer in layers]).cpu()
            sums[side] += einsum(x.double(), found.units.present.cpu().double(), "layer r u d, r u -> layer d")
        progress("streams behind MLPs", int(rows[-1]) + 1, n)
    unit = [torch.nn.functional.normalize(total, dim=-1) for total in sums]  # of a sum as of a mean
    return einsum(unit[0], unit[1], "t d, s d -> t s")


def partners(shared: SharedPositions) -> Int[Tensor, " prompt"]:
    """For each prompt the next of the same structure, the last one's being the first; -1 where there is no other."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for prompt, row in enumerate(shared.row.tolist()):
        groups.setdefault(tuple(row), []).append(prompt)
    out = torch.full((len(shared.row),), -1)
    for members in groups.values():
        if len(members) > 1:
            out[members] = torch.tensor([*members[1:], members[0]])
    return out


def _outputs(model: HookedModel, batch: PromptBatch, shared: SharedPositions, rows: Int[Tensor, " row"]) -> _Outputs:
    layers = range(model.info.n_layers)
    found = capture_rows(model, batch, shared, rows, points=["mlp_out"], layers=layers)
    x = torch.stack([found.units.activations(found.found["mlp_out"][layer]) for layer in layers]).cpu()
    return _Outputs(unit=torch.nn.functional.normalize(x, dim=-1), present=found.units.present.cpu())


def _cosine(teacher: _Outputs, student: _Outputs) -> Float[Tensor, "row teacher_mlp student_mlp unit"]:
    length = min(teacher.unit.shape[2], student.unit.shape[2])
    return einsum(
        teacher.unit[:, :, :length],
        student.unit[:, :, :length],
        "t row unit d_model, s row unit d_model -> row t s unit",
    )


def _mean(
    cosine: Float[Tensor, "row teacher_mlp student_mlp unit"], where: Bool[Tensor, "row unit"]
) -> Float[Tensor, "row teacher_mlp student_mlp"]:
    weight = where.double()
    return einsum(cosine, weight, "row t s unit, row unit -> row t s") / weight.sum(1)[:, None, None]
