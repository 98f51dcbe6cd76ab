"""Tables, figures and sentences of the robustness study."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.robustness import Retention, Robustness, percent_drops
from circuitkit.core.bootstrap import percentile_interval, prompt_means
from circuitkit.discovery.influence import Influence
from circuitkit.experiments.study_figure import Chart, Series
from circuitkit.experiments.study_table import Cell, Column, StudyTable, number

EDGES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Edges of the histogram's bins, in percent; those at 10 and 20 are the paper's."""


def drops_in_percent(side: Influence) -> Float[Tensor, " component"] | None:
    """clip(100 - retained, 0, 100) of each component (App. K); None if the model does not clearly do the task."""
    if not side.baseline.clear:
        return None
    return percent_drops(side.clean.double().mean(), prompt_means(side.ablated))


def expected_by_size(teacher_drop: float, n_teacher: int, n_student: int) -> float:
    """The student's mean drop if the teacher's total were spread evenly over the student's components, in percent."""
    return teacher_drop * n_teacher / n_student


def summary_table(robust: Robustness, teacher: Influence, student: Influence) -> StudyTable:
    """Table 2 with what stands beside it, a row a quantity."""
    n, none = (len(teacher.components), len(student.components)), (None, None)
    rows = [_row("components", (n[0], None), (n[1], None), "count")]
    for name, key in (("mean drop", "mean_drop"), ("share over 10%", "over_10"), ("share over 20%", "over_20")):
        ends = {"mean_drop": "ci95", "over_10": "over_10_ci95", "over_20": "over_20_ci95"}[key]
        t, s = (_read(side, key, ends) for side in (robust.teacher, robust.student))
        rows.append(_row(name, t, s, "%" if key == "mean_drop" else "share"))
    if robust.teacher is not None:
        only_size = expected_by_size(robust.teacher.mean_drop, *n)
        rows.append(_row("mean drop, if only the number of components changed", none, (only_size, None), "%"))
    gap, excess = _difference(teacher, student), _difference(teacher, student, scale=n[0] / n[1])
    rows += [
        _row("mean drop, student − teacher", none, gap, "%"),
        _row("mean drop, beyond the number of components", none, excess, "%"),
        _row("compression C", none, (robust.compression, None), "share"),
        _row("brittleness (student − teacher) / C", none, (robust.brittleness, robust.brittleness_ci95), "% per C"),
    ]
    return StudyTable(
        title="Robustness of both models",
        columns=(
            Column(name="quantity", title="quantity", kind="text"),
            Column(name="teacher", title="teacher", digits=4),
            Column(name="teacher_ci95", title="95%", kind="interval"),
            Column(name="student", title="student", digits=4),
            Column(name="student_ci95", title="95%", kind="interval"),
            Column(name="unit", title="unit", kind="text"),
        ),
        rows=tuple(rows),
        note="The drop of a component is clip(100 − retained, 0, 100) percent of its own model's logit difference. "
        "Intervals resample prompts, the same for both models; there are none where the logit difference of some "
        "draw is not above 0. C is 1 − parameters of the student / of the teacher.",
    )


def _row(quantity: str, teacher: tuple[Cell, Cell], student: tuple[Cell, Cell], unit: str) -> dict[str, Cell]:
    """A quantity of either model with its interval."""
    return {
        "quantity": quantity,
        "teacher": teacher[0],
        "teacher_ci95": teacher[1],
        "student": student[0],
        "student_ci95": student[1],
        "unit": unit,
    }


def _read(side: Retention | None, key: str, ends: str) -> tuple[Cell, Cell]:
    return (None, None) if side is None else (getattr(side, key), getattr(side, ends))


def _difference(
    teacher: Influence, student: Influence, *, scale: float = 1.0
) -> tuple[float | None, tuple[float, float] | None]:
    """Student's mean drop minus `scale` times the teacher's, in percent points; prompts are drawn for both at once."""
    found = [drops_in_percent(side) for side in (teacher, student)]
    if found[0] is None or found[1] is None:
        return None, None
    gap, weights = float(found[1].mean() - scale * found[0].mean()), teacher.weights()
    if weights is None:
        return gap, None
    drawn: list[Tensor] = []
    for side in (teacher, student):
        baselines, ablated = weights.means(side.clean), weights.means(side.ablated)
        if not bool((baselines > 0).all()):
            return gap, None
        errors = side.drawn_errors(weights.n_draws)
        drawn.append(percent_drops(baselines, ablated if errors is None else ablated - errors).mean(1))
    low, high = percentile_interval(drawn[1] - scale * drawn[0])
    return gap, (float(low), float(high))


def histogram_table(teacher: Influence, student: Influence) -> StudyTable:
    """How many components of either model drop by how much."""
    sides = {"teacher": drops_in_percent(teacher), "student": drops_in_percent(student)}
    counts = {who: None if drops is None else _counts(drops) for who, drops in sides.items()}
    rows: list[dict[str, Cell]] = []
    names = [f"{low:g} to {high:g}" for low, high in zip(EDGES[:-1], EDGES[1:], strict=True)]
    for i, name in enumerate(["0 or helped by the loss", *names]):
        row: dict[str, Cell] = {"drop": name}
        for who, found in counts.items():
            row[who] = None if found is None else found[i]
            row[f"{who}_share"] = None if found is None else found[i] / sum(found)
        rows.append(row)
    return StudyTable(
        title="Components by drop",
        columns=(
            Column(name="drop", title="drop, %", kind="text"),
            Column(name="teacher", title="teacher", kind="count", unit="components"),
            Column(name="teacher_share", title="share"),
            Column(name="student", title="student", kind="count", unit="components"),
            Column(name="student_share", title="share"),
        ),
        rows=tuple(rows),
        note="A bin holds its upper end and not its lower one.",
    )


def _counts(drops: Float[Tensor, " component"]) -> list[int]:
    bounds = torch.tensor([-math.inf, *EDGES[:-1], math.inf], dtype=drops.dtype)
    return [int(((drops > low) & (drops <= high)).sum()) for low, high in zip(bounds[:-1], bounds[1:], strict=True)]


def components_table(teacher: Influence, student: Influence) -> StudyTable:
    """Every component of both models, the greatest drop first."""
    rows: list[dict[str, Cell]] = []
    for who, side in (("teacher", teacher), ("student", student)):
        drops, table = drops_in_percent(side), side.table()
        for i, (name, entry) in enumerate(table.items()):
            ends: Sequence[float] | None = entry["drop_ci95"]
            rows.append(
                {
                    "model": who,
                    "component": name,
                    "percent": None if drops is None else float(drops[i]),
                    "drop": entry["drop"],
                    "drop_ci95": None if ends is None else (ends[0], ends[1]),
                }
            )
    rows.sort(key=lambda row: (row["model"] != "teacher", -number(row["drop"])))
    return StudyTable(
        title="Every component",
        columns=(
            Column(name="model", title="model", kind="text"),
            Column(name="component", title="component", kind="text"),
            Column(name="percent", title="drop, clipped", unit="%", digits=2),
            Column(name="drop", title="drop", unit="logits"),
            Column(name="drop_ci95", title="95%", kind="interval", unit="logits"),
        ),
        rows=tuple(rows),
    )


def robustness_findings(robust: Robustness, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What the summary says, in sentences."""
    t, s = robust.teacher, robust.student
    if t is None or s is None:
        lacking = [who for who, side in (("teacher", t), ("student", s)) if side is None]
        its = "its" if len(lacking) == 1 else "their"
        return (
            f"It is not clear that the {' and the '.join(lacking)} can do the task, so that percentages of {its} "
            "answer mean nothing and are not given.",
        )
    by_name = {row["quantity"]: row for row in rows}
    expected = by_name["mean drop, if only the number of components changed"]["student"]
    gap = by_name["mean drop, student − teacher"]
    ends = gap["student_ci95"]
    between = "" if ends is None else f" (95% interval {ends[0]:.2f} to {ends[1]:.2f})"
    beyond = by_name["mean drop, beyond the number of components"]
    bounds = beyond["student_ci95"]
    apart = "" if bounds is None else f" (95% interval {bounds[0]:.2f} to {bounds[1]:.2f})"
    shares = f"{100 * t.over_10:.1f}% of the teacher's and {100 * s.over_10:.1f}% of the student's components"
    out = [
        f"Losing one component costs the teacher {t.mean_drop:.2f}% of its answer on average and the student "
        f"{s.mean_drop:.2f}%: {gap['student']:.2f} points apart{between}.",
        f"With the teacher's drops spread over as many components as the student has, it would be {expected:.2f}%: "
        f"their number leaves {beyond['student']:.2f} points{apart} to explain.",
        f"{shares} cost over 10%.",
    ]
    if robust.brittleness is not None:
        out.append(
            f"Brittleness is {robust.brittleness:.2f} points per unit of compression ({robust.compression:.2f})."
        )
    return tuple(out)


def histogram_figure(table: StudyTable) -> Chart:
    """The histogram as bars."""

    def series(who: str) -> Series | None:
        values = [row[f"{who}_share"] for row in table.rows]
        if any(value is None for value in values):
            return None
        return Series(
            name=who,
            x=tuple(str(row["drop"]) for row in table.rows),
            y=tuple(number(value) for value in values),
            who="teacher" if who == "teacher" else "student",
        )

    return Chart(
        kind="bars",
        title="Share of components by drop",
        x_title="drop when removed, % of the model's own logit difference",
        y_title="share of components",
        series=tuple(one for one in map(series, ("teacher", "student")) if one is not None),
    )
