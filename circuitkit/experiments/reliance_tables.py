"""Tables, the figure and sentences of the reliance study."""

from collections.abc import Mapping, Sequence

from circuitkit.experiments.reliance_parts import Figure, Reliance, RelianceDifference
from circuitkit.experiments.study_figure import Chart, Series, Who
from circuitkit.experiments.study_table import Cell, Column, StudyTable

_WORDS = {"teacher": "teacher", "student": "student", "before": "student before distillation"}
_COLOURS: dict[str, Who] = {"teacher": "teacher", "student": "student", "before": "other"}


def models_table(found: Mapping[str, Sequence[Reliance]]) -> StudyTable:
    """One row a task and model."""
    rows: list[dict[str, Cell]] = [
        {
            "task": task,
            "model": one.model,
            "components": one.n_components,
            "logit_diff": one.logit_diff,
            "mean_drop": one.mean_drop.value,
            "mean_drop_ci95": one.mean_drop.ci95,
            "effective": one.effective.value,
            "effective_ci95": one.effective.ci95,
            "effective_share": None if one.effective.value is None else one.effective.value / one.n_components,
            "over_10": one.over_10,
        }
        for task, sides in found.items()
        for one in sides
    ]
    return StudyTable(
        title="What each model relies on",
        columns=(
            Column(name="task", title="task", kind="text"),
            Column(name="model", title="model", kind="text"),
            Column(name="components", title="components", kind="count"),
            Column(name="logit_diff", title="logit difference", unit="logits", digits=2),
            Column(name="mean_drop", title="mean drop", unit="%", digits=2),
            Column(name="mean_drop_ci95", title="95%", kind="interval", digits=2),
            Column(name="effective", title="effective components", digits=2),
            Column(name="effective_ci95", title="95%", kind="interval", digits=2),
            Column(name="effective_share", title="share of all"),
            Column(name="over_10", title="share over 10%"),
        ),
        rows=tuple(rows),
        note="Drops are clip(100 − retained, 0, 100) percent of the model's own logit difference; the effective number "
        "of components is (sum of drops)² / sum of squared drops. Nothing is given where a model does not clearly do "
        "the task. `before` is the student with its teacher's layers copied in and nothing learned.",
    )


def differences_table(found: Mapping[str, RelianceDifference]) -> StudyTable:
    """One row a task."""
    rows: list[dict[str, Cell]] = []
    for task, one in found.items():
        row: dict[str, Cell] = {"task": task}
        for name in ("mean_drop", "beyond_count", "effective"):
            figure: Figure = getattr(one, name)
            row |= {name: figure.value, f"{name}_ci95": figure.ci95}
        rows.append({**row, "thinned": one.thinned, "thinned_p": one.thinned_p})
    return StudyTable(
        title="Student minus teacher",
        columns=(
            Column(name="task", title="task", kind="text"),
            Column(name="mean_drop", title="mean drop", unit="%", digits=2),
            Column(name="mean_drop_ci95", title="95%", kind="interval", digits=2),
            Column(name="beyond_count", title="mean drop beyond the number of components", unit="%", digits=2),
            Column(name="beyond_count_ci95", title="95%", kind="interval", digits=2),
            Column(name="effective", title="effective components", digits=2),
            Column(name="effective_ci95", title="95%", kind="interval", digits=2),
            Column(name="thinned", title="effective, teacher thinned", digits=2),
            Column(name="thinned_p", title="p against it"),
        ),
        rows=tuple(rows),
        note="Beyond the number of components: against the teacher's total drop spread over as many components as the "
        "student has. Thinned: the teacher's components drawn at random, as many heads and MLPs as the student has; p "
        "is the share of draws with as few effective components as the student. Intervals resample prompts.",
    )


def reliance_figure(found: Mapping[str, Sequence[Reliance]]) -> Chart:
    """Effective numbers by task."""
    series: list[Series] = []
    for who in ("teacher", "student", "before"):
        own = [(task, one) for task, sides in found.items() for one in sides if one.model == who]
        if not any(one.effective.value is not None for _, one in own):
            continue
        ends = [one.effective.ci95 for _, one in own]
        series.append(
            Series(
                name=_WORDS[who],
                x=tuple(task for task, _ in own),
                y=tuple(one.effective.value for _, one in own),
                low=tuple(None if e is None else e[0] for e in ends),
                high=tuple(None if e is None else e[1] for e in ends),
                who=_COLOURS[who],
            )
        )
    return Chart(
        kind="bars",
        title="Effective number of components",
        x_title="task",
        y_title="effective number of components",
        series=tuple(series),
        note="Bars: 95% intervals over prompts.",
    )


def reliance_findings(
    found: Mapping[str, Sequence[Reliance]], differences: Mapping[str, RelianceDifference]
) -> tuple[str, ...]:
    """What came out, a sentence a task."""
    out: list[str] = []
    for task, sides in found.items():
        teacher, student = sides[0], sides[1]
        if teacher.effective.value is None or student.effective.value is None:
            lacking = [one.model for one in (teacher, student) if one.effective.value is None]
            out.append(f"On {task}, the {' and the '.join(lacking)} does not clearly do the task.")
            continue
        gap = differences[task]
        out.append(
            f"On {task}, the answer rests on {teacher.effective.value:.1f} effective components of "
            f"{teacher.n_components} in the teacher and {student.effective.value:.1f} of {student.n_components} in the "
            f"student (teacher thinned to that many: {gap.thinned or 0:.1f}, p = {gap.thinned_p or 0:.3f}); one costs "
            f"{teacher.mean_drop.value or 0:.1f}% and {student.mean_drop.value or 0:.1f}% on average, of which "
            f"{gap.beyond_count.value or 0:.1f} points are beyond the number of components."
        )
    return tuple(out)
