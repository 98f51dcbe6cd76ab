"""Similarity of heads by what they write on average: `output` and `z` (Eq. 6 of Distilled Circuits)."""

from collections.abc import Iterator

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.summary import ActivationSummary
from circuitkit.models.hooked_model import HookedModel

_CHUNK_BYTES = 128 * 2**20


def output_similarity(
    teacher: HookedModel,
    student: HookedModel,
    teacher_summary: ActivationSummary,
    student_summary: ActivationSummary,
) -> Float[Tensor, "teacher_head student_head"]:
    """Cosine of the flattened dataset-mean write into the residual stream, o_c = z_c W_O (no bias).

    The flattened vector of a head runs over all slots and d_model; where there are several template
    groups, each counts by its share of the prompts, so that with one group this is the paper's cosine.
    Invariant to the basis inside a head. 0 where a head writes nothing.
    """
    widest = max(len(m.components) * m.info.d_model for m in (teacher, student))
    return _chunked_cosine(
        _writes(teacher, teacher_summary, widest),
        _writes(student, student_summary, widest),
    )


def z_similarity(teacher: ActivationSummary, student: ActivationSummary) -> Float[Tensor, "teacher_head student_head"]:
    """Cosine of the flattened dataset-mean value mix z_c, groups weighted as in `output_similarity`."""
    return _chunked_cosine(iter([_weighted_z(teacher)]), iter([_weighted_z(student)]))


def cosine_from_products(
    products: Float[Tensor, "teacher student"],
    teacher_squares: Float[Tensor, " teacher"],
    student_squares: Float[Tensor, " student"],
) -> Float[Tensor, "teacher student"]:
    """Cosines from inner products and squared norms; 0 where a norm is 0."""
    norms = torch.outer(teacher_squares.sqrt(), student_squares.sqrt())
    return torch.where(norms > 0, products / norms.where(norms > 0, 1.0), 0.0).clamp(-1, 1)


def _mean_z(summary: ActivationSummary) -> Float[Tensor, "layer slot head d_head"]:
    assert summary.z is not None
    return summary.z * rearrange(summary.slot_weight.sqrt(), "slot -> 1 slot 1 1")


def _weighted_z(summary: ActivationSummary) -> Float[Tensor, "any_head feature"]:
    return rearrange(_mean_z(summary), "layer slot head d_head -> (layer head) (slot d_head)")


def _writes(
    model: HookedModel, summary: ActivationSummary, floats_per_slot: int
) -> Iterator[Float[Tensor, "any_head feature"]]:
    """Mean writes of all heads, some slots at a time."""
    z, size = _mean_z(summary), max(1, _CHUNK_BYTES // (8 * floats_per_slot))
    w_o = torch.stack([model.w_o(layer).double().cpu() for layer in range(model.info.n_layers)])
    for start in range(0, z.shape[1], size):
        write = einsum(
            z[:, start : start + size],
            w_o,
            "layer slot head d_head, layer head d_head d_model -> layer head slot d_model",
        )
        yield rearrange(write, "layer head slot d_model -> (layer head) (slot d_model)")


def _chunked_cosine(
    teacher: Iterator[Float[Tensor, "teacher_head feature"]],
    student: Iterator[Float[Tensor, "student_head feature"]],
) -> Float[Tensor, "teacher_head student_head"]:
    products = teacher_squares = student_squares = torch.zeros(())
    for t, s in zip(teacher, student, strict=True):
        products = products + t @ s.T
        teacher_squares = teacher_squares + t.square().sum(1)
        student_squares = student_squares + s.square().sum(1)
    return cosine_from_products(products, teacher_squares, student_squares)
