"""What the score would be without any agreement of influence: the null that stands beside every score."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.alignment.matching import Matching
from circuitkit.alignment.score import alignment_score

SHUFFLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleNull:
    """Scores with the student's influences permuted within each type of component.

    Attributes:
        mean: Mean of the permuted scores.
        sd: Their standard deviation.
        p: (1 + number of permuted scores >= the observed one) / (1 + n).
        n: Number of permutations.
    """

    mean: float
    sd: float
    p: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"mean": self.mean, "sd": self.sd, "p": self.p, "n": self.n}


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomStudentNull:
    """Scores of students of the same configuration with freshly initialised weights.

    Attributes:
        scores: One score a seed.
        seeds: The seeds of the weights.
        p: (1 + number of such scores >= the observed one) / (1 + number of seeds).
    """

    scores: tuple[float, ...]
    seeds: tuple[int, ...]
    p: float

    @property
    def mean(self) -> float:
        """Mean of the scores."""
        return sum(self.scores) / len(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"mean": self.mean, "scores": list(self.scores), "seeds": list(self.seeds), "p": self.p}


def shuffle_null(
    matching: Matching,
    teacher_influence: Float[Tensor, " teacher_component"],
    student_influence: Float[Tensor, " student_component"],
    *,
    n_student_heads: int,
    student_allowed: Bool[Tensor, " student_component"] | None = None,
    n: int = SHUFFLES,
    seed: int = 0,
) -> ShuffleNull:
    """Score with the student's influences dealt out anew among its heads and among its MLPs.

    The matching is held fixed, as it depends on similarities only; the null therefore keeps the mean
    similarity of the score and takes away the agreement of influence. Under `top_k` only the influences
    of the selected components are permuted, since which are selected does depend on influence.

    Args:
        matching: The pairs of the observed score.
        teacher_influence: Normalised influence of the teacher's components.
        student_influence: The same of the student.
        n_student_heads: How many of the student's components are heads; they come first.
        student_allowed: Student components that take part; None means all.
        n: Number of permutations.
        seed: Seed of the permutations.
    """
    observed = alignment_score(matching, teacher_influence, student_influence)
    order = _permutations(len(student_influence), n_student_heads, student_allowed, n=n, seed=seed)
    scores = alignment_score(matching, teacher_influence.expand(n, -1), student_influence[order])
    # sums in another order may differ by rounding: equal scores must count as equal
    at_least = int((scores >= observed - 1e-12).sum())
    return ShuffleNull(
        mean=float(scores.mean()),
        sd=float(scores.std()),
        p=(1 + at_least) / (1 + n),
        n=n,
    )


def _permutations(
    n_components: int, n_heads: int, allowed: Bool[Tensor, " component"] | None, *, n: int, seed: int
) -> Int[Tensor, "draw component"]:
    """Random reorderings of the allowed components, heads among heads and MLPs among MLPs."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.arange(n_components).repeat(n, 1)
    is_head = torch.arange(n_components) < n_heads
    for kind in (is_head, ~is_head):
        chosen = (kind if allowed is None else kind & allowed).nonzero().squeeze(1)
        keys = torch.rand(n, len(chosen), generator=generator, dtype=torch.float64)
        order[:, chosen] = chosen[keys.argsort(dim=1)]
    return order


def random_student_null(observed: float, scores: tuple[float, ...], seeds: tuple[int, ...]) -> RandomStudentNull:
    """Gather the scores of random students; each was swept, compared and matched anew."""
    at_least = sum(score >= observed for score in scores)
    return RandomStudentNull(scores=scores, seeds=seeds, p=(1 + at_least) / (1 + len(scores)))


def calibrated_score(score: float, null_mean: float) -> float:
    """A* = (A - A_null) / (1 - A_null): 0 at the null's mean, 1 at perfect alignment."""
    return (score - null_mean) / (1 - null_mean)
