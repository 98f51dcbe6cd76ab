"""What is left open in the score where influences were screened."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.alignment.matching import Matching
from circuitkit.alignment.score import alignment_score
from circuitkit.alignment.scores import most_influential
from circuitkit.core.bootstrap import prompt_means
from circuitkit.discovery.influence import Influence
from circuitkit.discovery.normalize import normalize_influence
from circuitkit.discovery.screen import Screen

REDRAWS = 2000
LEVEL = 0.99
"""A few audited prompts tell the errors of the estimates only roughly, so more than the usual 95% is covered."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScreenedScore:
    """Screening of both models, and its error in the score.

    Attributes:
        teacher: Record of the teacher's sweep.
        student: Record of the student's.
        error_in_score: Of the scores A with all estimated drops redrawn within their errors, 99% lie within this of
            the score given. Similarities and matches are held fixed. 0 where all that counts was measured; None
            where `top_k` was asked for and the redrawn drops choose other components in over 1% of the draws, as
            other components have other matches.
        has_interval: Whether intervals were asked for; they include this error.
    """

    teacher: Screen
    student: Screen
    error_in_score: float | None
    has_interval: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "teacher": self.teacher.to_dict(),
            "student": self.student.to_dict(),
            "error_in_score": self.error_in_score,
        }

    @property
    def notices(self) -> tuple[str, ...]:
        """What must stand beside the score; nothing where no value is an estimate."""
        if bool(self.teacher.exact.all()) and bool(self.student.exact.all()):
            return ()
        if self.error_in_score is None:
            return (
                "Influences were screened, and which components are among the top k rests on estimates: how far this "
                "may move A is not known, nor part of its interval. Use --method exact, or a smaller --top-k.",
            )
        included = ", which its interval includes" if self.has_interval else ""
        return (f"Influences were screened, not all measured: this may move A by {self.error_in_score:.2g}{included}.",)


def screened_score(
    matching: Matching, teacher: Influence, student: Influence, *, top_k: int | None = None
) -> ScreenedScore | None:
    """The record of an alignment with screened influences; None where everything was measured exactly.

    Args:
        matching: The matches that the score is of.
        teacher: Influences of the teacher.
        student: Influences of the student.
        top_k: How many of their most influential components were matched; None means all.
    """
    if teacher.screen is None or student.screen is None:
        return None
    drops = _redrawn(teacher, teacher.screen), _redrawn(student, student.screen)
    score = alignment_score(matching, teacher.values, student.values)
    drawn = alignment_score(matching, _scaled(teacher, drops[0]), _scaled(student, drops[1]))
    same = torch.stack([_chooses_alike(side, of, top_k) for side, of in zip((teacher, student), drops, strict=True)])
    return ScreenedScore(
        teacher=teacher.screen,
        student=student.screen,
        error_in_score=float((drawn - score).abs().quantile(LEVEL)) if same.all(0).double().mean() >= LEVEL else None,
        has_interval=teacher.weights() is not None,
    )


def _redrawn(side: Influence, screen: Screen) -> Float[Tensor, "draw component"]:
    """One seed for both models: they were audited on the same prompts."""
    return prompt_means(side.drops) + screen.redraw(REDRAWS, seed=int(side.settings["seed"]))


def _scaled(side: Influence, drops: Float[Tensor, "draw component"]) -> Float[Tensor, "draw component"]:
    return normalize_influence(drops, normalize=side.normalize, sign=side.sign)


def _chooses_alike(side: Influence, drops: Float[Tensor, "draw component"], top_k: int | None) -> Bool[Tensor, " draw"]:
    """Whether the top k by redrawn drops are those by the drops that were given."""
    chosen = most_influential(side, top_k)
    if chosen is None:
        return torch.ones(len(drops), dtype=torch.bool)
    size = drops.abs() if side.sign == "abs" else drops
    least, rest = size[:, chosen].amin(1), size[:, ~chosen]
    return (rest <= least[:, None]).all(1)
