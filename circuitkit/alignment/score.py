"""Alignment of matched components: how alike they are, times how alike their influence is (Eq. 8)."""

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.matching import Matching


def contributions(
    matching: Matching,
    teacher_influence: Float[Tensor, "*draw teacher_component"],
    student_influence: Float[Tensor, "*draw student_component"],
) -> Float[Tensor, "*draw pair"]:
    """S (1 - |I_T - I_S|) of every pair, before any weight.

    Args:
        matching: The pairs.
        teacher_influence: Normalised influence of all teacher components (Eq. 5).
        student_influence: The same of the student.
    """
    gap = teacher_influence[..., matching.teacher] - student_influence[..., matching.student]
    return matching.similarity * (1 - gap.abs())


def alignment_score(
    matching: Matching,
    teacher_influence: Float[Tensor, "*draw teacher_component"],
    student_influence: Float[Tensor, "*draw student_component"],
) -> Float[Tensor, "*draw"]:
    """A: mean contribution of the pairs M; with soft matching, by their weight.

    Eq. 8 of Distilled Circuits: A = 1/|M| sum over (T, S) in M of S(T, S) (1 - |I_T - I_S|).
    """
    each = contributions(matching, teacher_influence, student_influence)
    return (each * matching.weight).sum(-1) / matching.weight.sum()


def circuit_alignment(
    matching: Matching,
    teacher_influence: Float[Tensor, "*draw teacher_component"],
    student_influence: Float[Tensor, "*draw student_component"],
) -> Float[Tensor, "*draw"]:
    """A_w: contributions weighted by the teacher's influence, which idle components cannot dilute.

    Not a number where no matched teacher component has any influence: nothing can be weighted then.
    """
    each = contributions(matching, teacher_influence, student_influence)
    share = teacher_influence[..., matching.teacher] * matching.weight
    total = share.sum(-1)
    undefined = torch.full_like(total, torch.nan)
    return torch.where(total > 0, (each * share).sum(-1) / total, undefined)
