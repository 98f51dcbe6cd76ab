"""What a model relies on, as plain numbers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number with its interval; None where the model does not clearly do the task."""

    value: float | None
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliance:
    """What one model relies on in one task.

    Attributes:
        model: `teacher`, `student`, or `before`: the student before distillation.
        n_components: Heads and MLPs.
        logit_diff: Mean logit difference, in logits.
        clear: Whether it is clearly above 0.
        mean_drop: Mean over components of clip(100 - retained, 0, 100), in percent.
        effective: Effective number of components, `effective_number`.
        over_10: Share of components that cost over 10%.
    """

    model: str
    n_components: int
    logit_diff: float
    clear: bool
    mean_drop: Figure
    effective: Figure
    over_10: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelianceDifference:
    """Student minus teacher, beside what fewer components alone would give.

    Attributes:
        mean_drop: Difference of the mean drops, in percent points.
        beyond_count: The student's mean drop minus the teacher's total spread over the student's components.
        effective: Difference of the effective numbers.
        thinned: Mean effective number of the teacher's components thinned at random to the student's heads and MLPs.
        thinned_p: Share of thinnings with an effective number as small as the student's.
    """

    mean_drop: Figure
    beyond_count: Figure
    effective: Figure
    thinned: float | None
    thinned_p: float | None
