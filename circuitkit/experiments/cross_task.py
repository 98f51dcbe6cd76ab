"""One pair of models on several tasks (Table 3 of Distilled Circuits)."""

from collections.abc import Sequence

from circuitkit.alignment.robustness import measure_robustness
from circuitkit.alignment.scores import AlignmentScores
from circuitkit.core.bootstrap import percentile_interval
from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_figure import Chart, Series
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, Column, StudyTable

SOURCE = "Distilled Circuits (Haskins & Adams 2026), section 4.2.2, Table 3"
Interval = tuple[float, float]


def cross_task_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """Align the same two models on several tasks, each exactly as `align` does.

    Args:
        pairs: The same two models on each task.
        options: Nothing is taken from it.
        progress: Called as tasks are done.

    Raises:
        OptionError: The similarity is undefined between the models.
    """
    scored: list[tuple[PairMeasurements, AlignmentScores]] = []
    for done, pair in enumerate(pairs, start=1):
        scored.append((pair, pair.score()[1]))
        progress("tasks", done, len(pairs))
    first = pairs[0]
    rows = tuple(_row(pair, scores) for pair, scores in scored)
    return make_study(
        pairs,
        name="cross-task",
        title="One pair of models on several tasks",
        source=SOURCE,
        findings=_findings(scored),
        caution=(
            "A does not tell a student that can do a task from a broken copy of its teacher: read it beside both logit "
            "differences, the shuffled null and the student before distillation. Tasks differ in how much their nulls "
            "give."
        ),
        tables={"tasks": _table(rows)},
        figures={"scores": _figure(scored)},
        settings=first.settings.to_dict(),
        notices=[
            f"{pair.task.name}: {warning}" if len(pairs) > 1 else warning for pair in pairs for warning in pair.warnings
        ],
    )


def delta_logit_diff(pair: PairMeasurements) -> tuple[float, Interval | None]:
    """Teacher's minus student's mean logit difference with its interval over prompts, paired; in logits."""
    return _resampled(pair, 1.0, -1.0)


def mean_logit_diff(pair: PairMeasurements) -> tuple[float, Interval | None]:
    """Mean of the two models' mean logit differences with its interval over prompts; in logits."""
    return _resampled(pair, 0.5, 0.5)


def _resampled(pair: PairMeasurements, teacher: float, student: float) -> tuple[float, Interval | None]:
    values = teacher * pair.teacher.clean.double() + student * pair.student.clean.double()
    weights = pair.teacher.weights()
    if weights is None:
        return float(values.mean()), None
    low, high = percentile_interval(weights.means(values))
    return float(values.mean()), (float(low), float(high))


def _row(pair: PairMeasurements, scores: AlignmentScores) -> dict[str, Cell]:
    sides = pair.teacher.baseline, pair.student.baseline
    delta, mean = delta_logit_diff(pair), mean_logit_diff(pair)
    robust = measure_robustness(pair.teacher, pair.student)
    before = pair.before
    return {
        "task": pair.task.name,
        "score": scores.score,
        "ci95": scores.ci95,
        "null": None if scores.shuffle is None else scores.shuffle.mean,
        "p": None if scores.shuffle is None else scores.shuffle.p,
        "calibrated": scores.calibrated,
        "before": None if before is None else before.score,
        "circuit_alignment": scores.circuit_alignment,
        "circuit_ci95": scores.circuit_ci95,
        "mean_similarity": scores.mean_similarity,
        "teacher_logit_diff": sides[0].mean,
        "student_logit_diff": sides[1].mean,
        "delta": delta[0],
        "delta_ci95": delta[1],
        "mean": mean[0],
        "mean_ci95": mean[1],
        "teacher_accuracy": sides[0].accuracy,
        "student_accuracy": sides[1].accuracy,
        "teacher_drop": None if robust.teacher is None else robust.teacher.mean_drop,
        "student_drop": None if robust.student is None else robust.student.mean_drop,
        "n_prompts": len(pair.teacher.clean),
    }


def _table(rows: tuple[dict[str, Cell], ...]) -> StudyTable:
    return StudyTable(
        title="Alignment, its controls and what the models can do",
        columns=(
            Column(name="task", title="task", kind="text"),
            Column(name="score", title="A"),
            Column(name="ci95", title="95%", kind="interval"),
            Column(name="null", title="A, influences shuffled"),
            Column(name="p", title="p against it"),
            Column(name="calibrated", title="A*"),
            Column(name="before", title="A before distillation"),
            Column(name="circuit_alignment", title="circuit alignment"),
            Column(name="circuit_ci95", title="95%", kind="interval"),
            Column(name="mean_similarity", title="mean similarity"),
            Column(name="teacher_logit_diff", title="logit difference, teacher", unit="logits", digits=2),
            Column(name="student_logit_diff", title="student", unit="logits", digits=2),
            Column(name="delta", title="teacher − student", unit="logits", digits=2),
            Column(name="delta_ci95", title="95%", kind="interval", unit="logits", digits=2),
            Column(name="mean", title="mean of both", unit="logits", digits=2),
            Column(name="mean_ci95", title="95%", kind="interval", unit="logits", digits=2),
            Column(name="teacher_accuracy", title="right, teacher", digits=2),
            Column(name="student_accuracy", title="right, student", digits=2),
            Column(name="teacher_drop", title="mean drop, teacher", unit="%", digits=2),
            Column(name="student_drop", title="mean drop, student", unit="%", digits=2),
            Column(name="n_prompts", title="prompts", kind="count"),
        ),
        rows=rows,
        note="A, teacher − student and the mean of both are the columns of the paper's Table 3. Intervals resample "
        "prompts. A mean drop is missing where the model's logit difference is not clearly above 0.",
    )


def _findings(scored: Sequence[tuple[PairMeasurements, AlignmentScores]]) -> tuple[str, ...]:
    ranked = sorted(scored, key=lambda item: -item[1].score)
    out = [
        "From the highest A to the lowest: " + ", ".join(f"{p.task.name} {s.score:.3f}" for p, s in ranked) + "."
        if len(ranked) > 1
        else f"On {ranked[0][0].task.name}, A is {ranked[0][1].score:.3f}."
    ]
    with_null = [(p, s, s.shuffle) for p, s in scored if s.shuffle is not None]
    if with_null:
        above = [p.task.name for p, _, null in with_null if null.p <= 0.05]
        out.append(
            f"Above their shuffled null (p ≤ .05): {', '.join(above) or 'none'}; {len(above)} of {len(with_null)}."
        )
    before = [(p, s, control) for p, s in scored if (control := p.before) is not None]
    if before:
        no_better = [p.task.name for p, s, b in before if b.score >= s.score]
        out.append(
            "The student scores no higher than before distillation, with layers copied and nothing learned, on: "
            f"{', '.join(no_better) or 'no task'}."
        )
    return tuple(out)


def _figure(scored: Sequence[tuple[PairMeasurements, AlignmentScores]]) -> Chart:
    names = tuple(pair.task.name for pair, _ in scored)
    ends = [s.ci95 for _, s in scored]
    known = all(e is not None for e in ends)
    series = [
        Series(
            name="A",
            x=names,
            y=tuple(s.score for _, s in scored),
            low=tuple(None if e is None else e[0] for e in ends) if known else None,
            high=tuple(None if e is None else e[1] for e in ends) if known else None,
            who="teacher",
        )
    ]
    if all(s.shuffle is not None for _, s in scored):
        nulls = [s.shuffle for _, s in scored if s.shuffle is not None]
        series.append(
            Series(
                name="influences shuffled",
                x=names,
                y=tuple(n.mean for n in nulls),
                low=tuple(n.mean - 2 * n.sd for n in nulls),
                high=tuple(n.mean + 2 * n.sd for n in nulls),
                who="null",
            )
        )
    if any(pair.before for pair, _ in scored):
        controls = [pair.before for pair, _ in scored]
        series.append(
            Series(
                name="student before distillation", x=names, y=tuple(None if c is None else c.score for c in controls)
            )
        )
    return Chart(
        kind="bars",
        title="A by task, beside its controls",
        x_title="task",
        y_title="alignment A",
        series=tuple(series),
        note="Bars of A: 95% intervals over prompts; of the null: two standard deviations.",
    )
