"""What is left open in the score where influences were screened."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.matching import Matching
from circuitkit.alignment.score import alignment_score
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
            the score given. Similarities and matches are held fixed. 0 where all that counts was measured.
    """

    teacher: Screen
    student: Screen
    error_in_score: float

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
        return (
            f"Influences were screened, not all measured: this may move A by {self.error_in_score:.2g}, which its "
            "interval includes.",
        )


def screened_score(matching: Matching, teacher: Influence, student: Influence) -> ScreenedScore | None:
    """The record of an alignment with screened influences; None where everything was measured exactly."""
    if teacher.screen is None or student.screen is None:
        return None
    score = alignment_score(matching, teacher.values, student.values)
    drawn = alignment_score(matching, _redrawn(teacher, teacher.screen), _redrawn(student, student.screen))
    return ScreenedScore(
        teacher=teacher.screen,
        student=student.screen,
        error_in_score=float((drawn - score).abs().quantile(LEVEL)),
    )


def _redrawn(side: Influence, screen: Screen) -> Float[Tensor, "draw component"]:
    """One seed for both models: they were audited on the same prompts."""
    drops = prompt_means(side.drops) + screen.redraw(REDRAWS, seed=int(side.settings["seed"]))
    return normalize_influence(drops, normalize=side.normalize, sign=side.sign)
