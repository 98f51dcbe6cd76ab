"""Which student component stands for which teacher component (Eq. 7 of Distilled Circuits)."""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from circuitkit.alignment.similarity.types import Similarity

MatchingMethod = Literal["greedy", "hungarian", "soft"]
Direction = Literal["teacher", "student"]
SOFT_CANDIDATES = 5
SOFT_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matching:
    """Matched components, by their index in `all_components` of their model.

    Attributes:
        teacher: Teacher component of each pair.
        student: Student component of each pair.
        similarity: Similarity of each pair.
        weight: 1 for greedy and hungarian; for soft, the share of the pair among those of its source.
        unmatched_teacher: Teacher components that took part and are in no pair.
        unmatched_student: Student components that took part and are in no pair.
    """

    teacher: Int[Tensor, " pair"]
    student: Int[Tensor, " pair"]
    similarity: Float[Tensor, " pair"]
    weight: Float[Tensor, " pair"]
    unmatched_teacher: tuple[int, ...]
    unmatched_student: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.teacher)

    @property
    def mean_similarity(self) -> float:
        """Mean similarity of the pairs, by their weight."""
        return float((self.weight * self.similarity).sum() / self.weight.sum())


_Links = tuple[Int[Tensor, " pair"], Int[Tensor, " pair"], Float[Tensor, " pair"]]


def match_components(
    similarity: Similarity,
    *,
    method: MatchingMethod = "greedy",
    direction: Direction = "teacher",
    teacher_allowed: Bool[Tensor, " teacher_component"] | None = None,
    student_allowed: Bool[Tensor, " student_component"] | None = None,
) -> Matching:
    """Match heads with heads and MLPs with MLPs.

    Args:
        similarity: Similarities of all components.
        method: `greedy`: every source component takes its most similar target, many to one. `hungarian`:
            one to one with the greatest sum; the surplus of the larger side stays unmatched. `soft`: every
            source component takes its 5 most similar targets, weighted by a softmax at temperature 1.
        direction: The model whose components are the sources.
        teacher_allowed: Teacher components that take part; None means all.
        student_allowed: Student components that take part; None means all.

    Returns:
        The pairs; there are none if what takes part is of different types on the two sides.
    """
    n_heads = similarity.heads.shape
    everyone = (
        _indices(teacher_allowed, similarity.n_teacher),
        _indices(student_allowed, similarity.n_student),
    )
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for values, first in ((similarity.heads, (0, 0)), (similarity.mlps, n_heads)):
        rows, columns = (
            allowed[(allowed >= start) & (allowed < start + size)] - start
            for allowed, start, size in zip(everyone, first, values.shape, strict=True)
        )
        if len(rows) and len(columns):
            source, target, weight = _link(values[rows][:, columns], method, direction)
            row, column = rows[source], columns[target]
            parts.append((row + first[0], column + first[1], values[row, column], weight))
    if not parts:
        none = torch.zeros(0, dtype=torch.long)
        parts = [(none, none, none.double(), none.double())]
    teacher, student, matched, weight = (torch.cat(part) for part in zip(*parts, strict=True))
    return Matching(
        teacher=teacher,
        student=student,
        similarity=matched,
        weight=weight,
        unmatched_teacher=_left_over(everyone[0], teacher),
        unmatched_student=_left_over(everyone[1], student),
    )


def _indices(allowed: Bool[Tensor, " component"] | None, n: int) -> Int[Tensor, " allowed"]:
    return torch.arange(n) if allowed is None else allowed.nonzero().squeeze(1)


def _left_over(allowed: Int[Tensor, " allowed"], matched: Int[Tensor, " pair"]) -> tuple[int, ...]:
    return tuple(sorted(set(allowed.tolist()) - set(matched.tolist())))


def _link(values: Float[Tensor, "row column"], method: MatchingMethod, direction: Direction) -> _Links:
    """Rows, columns and weights of the pairs of one type of component."""
    source_first = values if direction == "teacher" else rearrange(values, "row column -> column row")
    source, target, weight = _METHODS[method](source_first)
    return (source, target, weight) if direction == "teacher" else (target, source, weight)


def _greedy(values: Float[Tensor, "source target"]) -> _Links:
    ones = torch.ones(len(values), dtype=values.dtype)
    return torch.arange(len(values)), values.argmax(dim=1), ones


def _hungarian(values: Float[Tensor, "source target"]) -> _Links:
    source, target = linear_sum_assignment(values.numpy(), maximize=True)
    return torch.as_tensor(source), torch.as_tensor(target), torch.ones(len(source), dtype=values.dtype)


def _soft(values: Float[Tensor, "source target"]) -> _Links:
    n_kept = min(SOFT_CANDIDATES, values.shape[1])
    best, target = values.topk(n_kept, dim=1)
    weight = torch.softmax(best / SOFT_TEMPERATURE, dim=1)
    source = repeat(torch.arange(len(values)), "source -> source kept", kept=n_kept)
    return source.flatten(), target.flatten(), weight.flatten()


_METHODS = {"greedy": _greedy, "hungarian": _hungarian, "soft": _soft}
