"""The row of key figures under the headline."""

from dataclasses import dataclass

from circuitkit.reports.alignment_record import AlignmentRecord, Retention
from circuitkit.reports.numerals import count, fixed, interval, share
from circuitkit.reports.records import Estimate

NONE = "\u2013"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFigure:
    """One number with its name and what stands under it."""

    name: str
    value: str
    note: str


def mean_similarity(record: AlignmentRecord) -> float:
    """Mean similarity of the matched pairs: what A would be if all influences agreed."""
    return sum(p.weight * p.similarity for p in record.pairs) / sum(p.weight for p in record.pairs)


def mean_agreement(record: AlignmentRecord) -> float:
    """Mean of 1 - |I_T - I_S| over the matched pairs: what A would be if all were identical in activation."""
    gaps = (p.weight * abs(p.teacher_influence - p.student_influence) for p in record.pairs)
    return 1 - sum(gaps) / sum(p.weight for p in record.pairs)


def key_figures(record: AlignmentRecord) -> tuple[KeyFigure, ...]:
    """Every key figure but the score itself, which has its own drawing."""
    score, task = record.alignment, record.task
    dropped = "none dropped" if task.n_dropped == 0 else f"{count(task.n_dropped)} dropped"
    return (
        KeyFigure(
            name="Calibrated A*",
            value=NONE if score.calibrated is None else fixed(score.calibrated, 3),
            note="0 is the null, 1 identity" if score.calibrated is not None else "no null was computed",
        ),
        KeyFigure(
            name="Circuit alignment",
            value=NONE if score.circuit_alignment is None else fixed(score.circuit_alignment, 3),
            note="A weighted by the teacher\u2019s influence"
            + ("" if score.circuit_ci95 is None else f"; {_interval(score.circuit_ci95, 3)}"),
        ),
        KeyFigure(
            name="Mean similarity",
            value=fixed(mean_similarity(record), 3),
            note=f"of {count(len(record.pairs))} matches",
        ),
        KeyFigure(
            name="Mean agreement",
            value=fixed(mean_agreement(record), 3),
            note="of the influences of matched components",
        ),
        KeyFigure(
            name="Logit difference, teacher",
            value=fixed(record.teacher_logit_diff.mean),
            note=_ability(record.teacher_logit_diff),
        ),
        KeyFigure(
            name="Logit difference, student",
            value=fixed(record.student_logit_diff.mean),
            note=_ability(record.student_logit_diff),
        ),
        _retention("Mean drop, teacher", record.robustness.teacher),
        _retention("Mean drop, student", record.robustness.student),
        _brittleness(record),
        KeyFigure(name="Prompts", value=count(task.n_prompts), note=dropped),
    )


def _interval(bounds: tuple[float, float] | None, digits: int) -> str:
    return "no interval computed" if bounds is None else f"95% interval {interval(bounds, digits)}"


def _ability(logit_diff: Estimate) -> str:
    right = "" if logit_diff.accuracy is None else f"; {share(logit_diff.accuracy)} right"
    return _interval(logit_diff.ci95, 2) + right


def _retention(name: str, retention: Retention | None) -> KeyFigure:
    if retention is None:
        return KeyFigure(name=name, value=NONE, note="logit difference not clearly above 0")
    return KeyFigure(
        name=name,
        value=f"{fixed(retention.mean_drop, 1)}%",
        note=f"{_interval(retention.ci95, 1)}; {share(retention.over_10)} of components over 10%",
    )


def _brittleness(record: AlignmentRecord) -> KeyFigure:
    robustness = record.robustness
    if robustness.brittleness is None:
        return KeyFigure(name="Brittleness", value=NONE, note="not defined here")
    compression = "" if robustness.compression is None else f" at compression {fixed(robustness.compression)}"
    return KeyFigure(
        name="Brittleness", value=fixed(robustness.brittleness, 1), note=f"extra drop in points{compression}"
    )
