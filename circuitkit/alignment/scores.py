"""The score of an alignment with everything that must stand beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.alignment.matching import Matching, match_components
from circuitkit.alignment.nulls import RandomStudentNull, ShuffleNull, calibrated_score, shuffle_null
from circuitkit.alignment.score import alignment_score, circuit_alignment
from circuitkit.alignment.settings import AlignSettings
from circuitkit.alignment.similarity.types import Similarity
from circuitkit.core.bootstrap import percentile_interval, prompt_means
from circuitkit.discovery.influence import Influence

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentScores:
    """Alignment A, its interval, its nulls and the scores derived from it.

    Attributes:
        score: A (Eq. 8).
        ci95: Bootstrap interval over prompts; similarities and matches are held fixed.
        circuit_alignment: A_w, weighted by the teacher's influence; None where the teacher has none.
        circuit_ci95: Its interval; None also where some draws leave it undefined.
        mean_similarity: Mean similarity of the pairs: what A would be if influences agreed everywhere.
        shuffle: Null with the student's influences permuted.
        random_student: Null of freshly initialised students.
    """

    score: float
    ci95: Interval | None
    circuit_alignment: float | None
    circuit_ci95: Interval | None
    mean_similarity: float
    shuffle: ShuffleNull | None
    random_student: RandomStudentNull | None

    @property
    def calibrated(self) -> float | None:
        """A* = (A - A_null) / (1 - A_null) against the shuffle null, else against random students."""
        null = self.shuffle or self.random_student
        return None if null is None or null.mean >= 1 else calibrated_score(self.score, null.mean)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "score": self.score,
            "ci95": self.ci95,
            "null": {
                "shuffle": None if self.shuffle is None else self.shuffle.to_dict(),
                "random_student": None if self.random_student is None else self.random_student.to_dict(),
            },
            "calibrated": self.calibrated,
            "circuit_alignment": self.circuit_alignment,
            "circuit_ci95": self.circuit_ci95,
            "mean_similarity": self.mean_similarity,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "AlignmentScores":
        """Read back what `to_dict` wrote."""
        shuffle, random = record["null"]["shuffle"], record["null"]["random_student"]
        return cls(
            score=record["score"],
            ci95=_pair(record["ci95"]),
            circuit_alignment=record["circuit_alignment"],
            circuit_ci95=_pair(record["circuit_ci95"]),
            mean_similarity=record["mean_similarity"],
            shuffle=None if shuffle is None else ShuffleNull(**shuffle),
            random_student=None
            if random is None
            else RandomStudentNull(scores=tuple(random["scores"]), seeds=tuple(random["seeds"]), p=random["p"]),
        )


def match_influences(
    similarity: Similarity, teacher: Influence, student: Influence, settings: AlignSettings
) -> Matching:
    """Match the components of two models as the settings ask for."""
    return match_components(
        similarity,
        method=settings.matching,
        direction=settings.direction,
        teacher_allowed=most_influential(teacher, settings.top_k),
        student_allowed=most_influential(student, settings.top_k),
    )


def most_influential(influence: Influence, top_k: int | None) -> Bool[Tensor, " component"] | None:
    """The K components with the greatest mean drop (its size, for the sign rule `abs`); None means all."""
    if top_k is None:
        return None
    drops = prompt_means(influence.drops)
    order = (drops.abs() if influence.sign == "abs" else drops).argsort(descending=True, stable=True)
    chosen = torch.zeros(len(drops), dtype=torch.bool)
    chosen[order[:top_k]] = True
    return chosen


def score_matching(
    matching: Matching,
    similarity: Similarity,
    teacher: Influence,
    student: Influence,
    *,
    settings: AlignSettings,
    random_student: RandomStudentNull | None = None,
) -> AlignmentScores:
    """Score the matched components of two models measured on the same prompts."""
    values = teacher.values, student.values
    weights = teacher.weights()
    score, circuit = alignment_score(matching, *values), circuit_alignment(matching, *values)
    ci, circuit_ci = None, None
    if weights is not None:
        draws = teacher.draws(weights), student.draws(weights)  # the same prompts are drawn for both models
        ci = _interval(alignment_score(matching, *draws))
        circuit_ci = _interval(circuit_alignment(matching, *draws))
    shuffle = None
    if settings.null in ("shuffle", "both"):
        shuffle = shuffle_null(
            matching,
            *values,
            n_student_heads=similarity.heads.shape[1],
            student_allowed=most_influential(student, settings.top_k),
            seed=settings.seed,
        )
    return AlignmentScores(
        score=float(score),
        ci95=ci,
        circuit_alignment=float(circuit) if bool(circuit.isfinite()) else None,
        circuit_ci95=circuit_ci,
        mean_similarity=matching.mean_similarity,
        shuffle=shuffle,
        random_student=random_student,
    )


def _interval(draws: Float[Tensor, " draw"]) -> Interval | None:
    if not bool(draws.isfinite().all()):
        return None
    low, high = percentile_interval(draws)
    return float(low), float(high)


def _pair(bounds: Sequence[float] | None) -> Interval | None:
    return None if bounds is None else (bounds[0], bounds[1])
