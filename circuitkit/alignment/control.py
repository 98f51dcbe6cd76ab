"""The student before distillation: what the score is worth that copied layers alone would get."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circuitkit.alignment.comparison import Comparison
from circuitkit.alignment.score import alignment_score, circuit_alignment
from circuitkit.core.errors import OptionError
from circuitkit.discovery.influence import Influence
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.inherit import initialised_only


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialisedControl:
    """The same scores for the student with its teacher's layers copied in and nothing learned.

    Attributes:
        score: Alignment A, with its own sweep, similarities and matching.
        circuit_alignment: A_w; None where the teacher has no influence.
        mean_similarity: Mean similarity of the pairs.
        logit_diff: Mean logit difference, in logits.
        accuracy: Share of prompts with the correct answer above the incorrect one.
    """

    score: float
    circuit_alignment: float | None
    mean_similarity: float
    logit_diff: float
    accuracy: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "score": self.score,
            "circuit_alignment": self.circuit_alignment,
            "mean_similarity": self.mean_similarity,
            "logit_diff": {"mean": self.logit_diff, "accuracy": self.accuracy},
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "InitialisedControl":
        """Read back what `to_dict` wrote."""
        return cls(
            score=record["score"],
            circuit_alignment=record["circuit_alignment"],
            mean_similarity=record["mean_similarity"],
            logit_diff=record["logit_diff"]["mean"],
            accuracy=record["logit_diff"]["accuracy"],
        )

    def notice(self, score: float) -> str:
        """The sentence that stands beside the student's score."""
        reading = (
            "what was copied explains a score like this, so A says nothing about distillation here"
            if self.score >= score
            else "only what lies above it can be owed to distillation"
        )
        return (
            f"Before distillation, with its teacher's layers copied and nothing learned, the student scores "
            f"{self.score:.3f} against {score:.3f} (logit difference {self.logit_diff:.2f}, "
            f"{100 * self.accuracy:.0f}% right): {reading}."
        )


def initialised_control(job: Comparison, teacher: Influence, student: HookedModel) -> InitialisedControl:
    """Measure the student as it was before distillation, on the same prompts and with the same options.

    Raises:
        ModelError: It is not known how the student was initialised, or not from this teacher.
        OptionError: Under `top_k` there is nothing to match.
    """
    fresh = initialised_only(job.teacher, student)
    measured = job.influence(fresh, "student before distillation")
    _, matching = job.match(teacher, fresh, measured)
    if not len(matching):
        raise OptionError("Top-k leaves nothing to match between the teacher and the student before distillation.")
    circuit = circuit_alignment(matching, teacher.values, measured.values)
    baseline = measured.baseline
    return InitialisedControl(
        score=float(alignment_score(matching, teacher.values, measured.values)),
        circuit_alignment=float(circuit) if bool(circuit.isfinite()) else None,
        mean_similarity=matching.mean_similarity,
        logit_diff=baseline.mean,
        accuracy=baseline.accuracy,
    )
