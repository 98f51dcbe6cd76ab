"""Tables, figures and sentences of the sensitivity study."""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.matching import MatchingMethod
from circuitkit.alignment.scores import AlignmentScores
from circuitkit.discovery.normalize import Normalize
from circuitkit.experiments.study_figure import Chart, Heatmap, Series
from circuitkit.experiments.study_table import Cell, Column, StudyTable

Cellname = tuple[Normalize, MatchingMethod]
CELLS: tuple[Cellname, ...] = tuple((n, m) for n in get_args(Normalize) for m in get_args(MatchingMethod))
LEAST_TASKS = 3
"""A rank correlation of fewer values is 1 or -1 whatever they are."""


def label(cell: Cellname) -> str:
    """`max+greedy`, as the paper's Table 5 has it."""
    return f"{cell[0]}+{cell[1]}"


def cells_table(scores: Mapping[str, Mapping[Cellname, AlignmentScores]]) -> StudyTable:
    """One row a task and cell."""
    rows: list[dict[str, Cell]] = []
    for task, cells in scores.items():
        order = sorted(cells, key=lambda c: -cells[c].score)
        for cell, s in cells.items():
            rows.append(
                {
                    "task": task,
                    "normalize": cell[0],
                    "matching": cell[1],
                    "score": s.score,
                    "ci95": s.ci95,
                    "rank": order.index(cell) + 1,
                    "mean_similarity": s.mean_similarity,
                    "null": None if s.shuffle is None else s.shuffle.mean,
                    "p": None if s.shuffle is None else s.shuffle.p,
                    "calibrated": s.calibrated,
                    "circuit_alignment": s.circuit_alignment,
                }
            )
    return StudyTable(
        title="Alignment under three normalisations and three matchings",
        columns=(
            Column(name="task", title="task", kind="text"),
            Column(name="normalize", title="normalisation", kind="text"),
            Column(name="matching", title="matching", kind="text"),
            Column(name="score", title="A"),
            Column(name="ci95", title="95%", kind="interval"),
            Column(name="rank", title="rank of the nine", kind="count"),
            Column(name="mean_similarity", title="mean similarity"),
            Column(name="null", title="A, influences shuffled"),
            Column(name="p", title="p against it"),
            Column(name="calibrated", title="A*"),
            Column(name="circuit_alignment", title="circuit alignment"),
        ),
        rows=tuple(rows),
        note="max and greedy is what align gives unless told otherwise. Intervals resample prompts; similarities are "
        "held fixed.",
    )


def agreement_table(
    agreement: Mapping[str, Float[Tensor, "cell cell"]], tasks: Mapping[tuple[str, str], float] | None
) -> StudyTable:
    """One row a pair of cells."""
    rows: list[dict[str, Cell]] = []
    for a, b in combinations(range(len(CELLS)), 2):
        names = label(CELLS[a]), label(CELLS[b])
        row: dict[str, Cell] = {"one": names[0], "other": names[1]}
        row |= {f"components {task}": float(matrix[a, b]) for task, matrix in agreement.items()}
        row["tasks"] = None if tasks is None else tasks[names]
        rows.append(row)
    return StudyTable(
        title="Do the options rank alike? Spearman correlations between them",
        columns=(
            Column(name="one", title="one", kind="text"),
            Column(name="other", title="other", kind="text"),
            *(Column(name=f"components {task}", title=f"of components, {task}", digits=2) for task in agreement),
            Column(name="tasks", title="of tasks", digits=2),
        ),
        rows=tuple(rows),
        note="Of components: how the contributions S (1 - |I_T - I_S|) of the teacher's components are ranked. Of "
        f"tasks: how the tasks' scores are ranked, from {LEAST_TASKS} tasks on.",
    )


def score_findings(scores: Mapping[str, Mapping[Cellname, AlignmentScores]]) -> list[str]:
    """The ranking of the nine scores, and how many are above their nulls."""
    out: list[str] = []
    for task, cells in scores.items():
        ranked = sorted(cells, key=lambda c: -cells[c].score)
        order = ", ".join(f"{label(c)} {cells[c].score:.3f}" for c in ranked)
        shuffled = [s.shuffle for s in cells.values() if s.shuffle is not None]
        beside = ""
        if shuffled:
            beside = (
                f" {sum(n.p <= 0.05 for n in shuffled)} of {len(shuffled)} are above their shuffled null (p ≤ .05)."
            )
        out.append(
            f"On {task}, A runs from {cells[ranked[-1]].score:.3f} to {cells[ranked[0]].score:.3f}: {order}.{beside}"
        )
    return out


def agreement_findings(
    agreement: Mapping[str, Float[Tensor, "cell cell"]], tasks: Mapping[tuple[str, str], float] | None
) -> list[str]:
    """How alike the cells rank components and tasks."""
    upper = torch.triu(torch.ones(len(CELLS), len(CELLS)), diagonal=1) > 0
    out: list[str] = []
    for task, matrix in agreement.items():
        values = matrix[upper][matrix[upper].isfinite()]
        if len(values):
            out.append(
                f"On {task}, the contributions of components are ranked alike with a correlation of {values.min():.2f} "
                f"to {values.max():.2f} between options (median {values.median():.2f})."
            )
    if tasks is not None:
        found = [x for x in tasks.values() if not math.isnan(x)]
        same = sum(x > 1 - 1e-9 for x in found)
        out.append(f"The ranking of the tasks is the same under {same} of {len(found)} pairs of options.")
    return out


def scores_figure(scores: Mapping[str, Mapping[Cellname, AlignmentScores]]) -> Chart:
    """A of each cell beside its shuffled null."""
    series: list[Series] = []
    for task, cells in scores.items():
        names = tuple(map(label, cells))
        ends = [s.ci95 for s in cells.values()]
        known = all(e is not None for e in ends)
        series.append(
            Series(
                name=f"A, {task}",
                x=names,
                y=tuple(s.score for s in cells.values()),
                low=tuple(None if e is None else e[0] for e in ends) if known else None,
                high=tuple(None if e is None else e[1] for e in ends) if known else None,
                who="teacher" if len(scores) == 1 else "other",
            )
        )
        if all(s.shuffle is not None for s in cells.values()):
            nulls = [s.shuffle for s in cells.values() if s.shuffle is not None]
            series.append(
                Series(
                    name=f"influences shuffled, {task}",
                    x=names,
                    y=tuple(n.mean for n in nulls),
                    low=tuple(n.mean - 2 * n.sd for n in nulls),
                    high=tuple(n.mean + 2 * n.sd for n in nulls),
                    who="null",
                )
            )
    return Chart(
        kind="bars",
        title="A under each option beside its shuffled null",
        x_title="normalisation and matching",
        y_title="alignment A",
        series=tuple(series),
        note="Bars of A: 95% intervals over prompts; of the null: two standard deviations.",
    )


def agreement_figure(task: str, matrix: Float[Tensor, "cell cell"]) -> Heatmap:
    """Rank correlations between all cells."""
    names = tuple(map(label, CELLS))
    return Heatmap(
        title=f"Do the options rank the components alike? {task}",
        row_title="option",
        column_title="option",
        rows=names,
        columns=names,
        values=tuple(tuple(row) for row in matrix.tolist()),
        value_title="Spearman correlation of contributions",
        limits=(-1.0 if float(matrix.nan_to_num(0).min()) < 0 else 0.0, 1.0),
    )
