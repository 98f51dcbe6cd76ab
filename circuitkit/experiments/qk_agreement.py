"""How far two heads agree on what they look at: matrices between labels, compared row by row."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval

LEAST_CONTRASTS = 3
"""Differences within rows below which matrices agree or not by chance alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Correlation of one teacher head's matrix with that of its match, beside the student's other heads.

    Attributes:
        value: Correlation with the match, -1 to 1; None where it has none.
        others: Mean correlation with the student's other heads.
        rank: Place of the match among all of the student's heads, from 1.
        ci95: Interval over prompts; None where there is none.
    """

    value: float | None
    others: float | None
    rank: int | None
    ci95: tuple[float, float] | None = None


def centred(
    values: Float[Tensor, "*head query key"], readable: Bool[Tensor, "query key"]
) -> Float[Tensor, "*head query key"]:
    """What a softmax sees of scores: every row without its mean over the keys that can be read; 0 at the others."""
    seen = readable.to(values.dtype)
    mean = (values * seen).sum(-1, keepdim=True) / seen.sum(-1, keepdim=True).clamp(min=1)
    return (values - mean) * seen


def correlations(
    one: Float[Tensor, "*draw query key"], other: Float[Tensor, "*draw query key"], readable: Bool[Tensor, "query key"]
) -> Float[Tensor, "*draw"]:
    """Correlation of two matrices over the cells that can be read, rows centred; not a number where one is constant.

    It is also not a number where there are fewer than `LEAST_CONTRASTS` differences within rows.
    """
    a, b = (centred(x.double(), readable).flatten(-2) for x in (one, other))
    contrasts = int(readable.sum() - readable.any(-1).sum())
    norms = a.norm(dim=-1) * b.norm(dim=-1)
    found = (a * b).sum(-1) / norms
    return torch.where((norms > 1e-12) & (contrasts >= LEAST_CONTRASTS), found, torch.nan)


def agreement(
    teacher: Float[Tensor, "query key"],
    students: Float[Tensor, "head query key"],
    match: int,
    readable: Bool[Tensor, "query key"],
) -> Agreement:
    """Correlation of a teacher head with its match among the student's heads.

    Args:
        teacher: The teacher head's matrix.
        students: The matrices of all heads of the student.
        match: Which of them is its match.
        readable: The cells that can be read in both models.
    """
    found = correlations(teacher.expand_as(students), students, readable)
    own, rest = found[match], found[torch.arange(len(found)) != match]
    if not bool(own.isfinite()):
        return Agreement(value=None, others=None, rank=None)
    known = rest[rest.isfinite()]
    return Agreement(
        value=float(own), others=float(known.mean()) if len(known) else None, rank=1 + int((known > own).sum())
    )


def agreement_interval(
    teacher: Float[Tensor, "query key prompt"],
    student: Float[Tensor, "query key prompt"],
    readable: Bool[Tensor, "query key"],
    weights: BootstrapWeights | None,
) -> tuple[float, float] | None:
    """Interval of the correlation of two heads' mean matrices, prompts resampled together.

    Args:
        teacher: The teacher head's values prompt by prompt; not a number where a label cannot be read.
        student: The same of the student head.
        readable: The cells that can be read in both models.
        weights: The draws; None for no interval.
    """
    if weights is None:
        return None
    means = [
        torch.nan_to_num(weights.means(x.nan_to_num(0)) / weights.means(x.isfinite().float()))
        for x in (teacher, student)
    ]
    found = correlations(means[0], means[1], readable)
    if not bool(found.isfinite().all()):
        return None
    low, high = percentile_interval(found)
    return float(low), float(high)
