"""Does the score depend on how influence is normalised and components are matched? (Table 5 of Distilled Circuits)."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from circuitkit.alignment.matching import Matching
from circuitkit.alignment.score import contributions
from circuitkit.alignment.scores import AlignmentScores
from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.sensitivity_tables import (
    CELLS,
    LEAST_TASKS,
    Cellname,
    agreement_figure,
    agreement_findings,
    agreement_table,
    cells_table,
    label,
    score_findings,
    scores_figure,
)
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_options import StudyOptions

SOURCE = "Distilled Circuits (Haskins & Adams 2026), Appendix M, Table 5"


def sensitivity_study(
    pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent
) -> Study:
    """Score one pair of models on one task or several under three normalisations and three matchings.

    Sweeps and similarities are those of `align` and are not made again for any cell. What is ranked is told, not
    presupposed: the nine scores; the components' contributions between cells; the tasks between cells.

    Args:
        pairs: The same two models on each task.
        options: Nothing is taken from it.
        progress: Called as cells are scored.

    Raises:
        OptionError: The similarity is undefined between the models.
    """
    total = len(CELLS) * len(pairs)
    found: dict[str, dict[Cellname, tuple[Matching, AlignmentScores]]] = {}
    for i, pair in enumerate(pairs):
        cells: dict[Cellname, tuple[Matching, AlignmentScores]] = {}
        for j, (normalize, matching) in enumerate(CELLS):
            cells[normalize, matching] = pair.score(normalize=normalize, matching=matching)
            progress("cells", i * len(CELLS) + j + 1, total)
        found[pair.task.name] = cells
    scores = {task: {cell: scored for cell, (_, scored) in cells.items()} for task, cells in found.items()}
    agreement = {pair.task.name: _component_agreement(pair, found[pair.task.name]) for pair in pairs}
    tasks = ranking_agreement({label(c): {t: scores[t][c].score for t in scores} for c in CELLS})
    first = pairs[0]
    tables = {"cells": cells_table(scores), "agreement": agreement_table(agreement, tasks)}
    return make_study(
        pairs,
        name="sensitivity",
        title="Does the score depend on normalisation and matching?",
        source=SOURCE,
        findings=(*score_findings(scores), *agreement_findings(agreement, tasks)),
        caution=(
            "Scores under different options are different quantities: a higher one is no better one. Only rankings can "
            "be compared between them, and the nulls say how much of a score needs no agreement of influence at all."
        ),
        tables=tables,
        figures={
            "scores": scores_figure(scores),
            **{f"components-{task}": agreement_figure(task, matrix) for task, matrix in agreement.items()},
        },
        settings={**_shared_settings(first), "normalisations": "max, l1, l2", "matchings": "greedy, hungarian, soft"},
        notices=[f"{pair.task.name}: {w}" if len(pairs) > 1 else w for pair in pairs for w in pair.plain_warnings],
    )


def ranking_agreement(scores: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], float] | None:
    """Spearman correlation between options of the ranking that each gives to the same things.

    Args:
        scores: Under each option, the score of each thing (a task or a pair of models).

    Returns:
        By pair of options; None where there are fewer than three things to rank. Not a number where one option gives
        all of them the same score.
    """
    names = list(next(iter(scores.values())))
    if len(names) < LEAST_TASKS:
        return None
    return {
        (a, b): _spearman([scores[a][n] for n in names], [scores[b][n] for n in names])
        for a, b in combinations(scores, 2)
    }


def _spearman(one: Sequence[float], other: Sequence[float]) -> float:
    if len(set(one)) < 2 or len(set(other)) < 2:
        return float("nan")
    found: Any = spearmanr(one, other)  # scipy's stubs do not know its result
    return float(found.statistic)


def _component_agreement(
    pair: PairMeasurements, cells: Mapping[Cellname, tuple[Matching, AlignmentScores]]
) -> Float[Tensor, "cell cell"]:
    """Spearman correlation between cells of what each teacher component contributes, over those matched in both."""
    each = [_by_teacher(pair, cell, matching) for cell, (matching, _) in cells.items()]
    out = torch.ones(len(each), len(each), dtype=torch.float64)
    for a, b in combinations(range(len(each)), 2):
        both = each[a].isfinite() & each[b].isfinite()
        out[a, b] = out[b, a] = _spearman(each[a][both].tolist(), each[b][both].tolist())
    return out


def _by_teacher(pair: PairMeasurements, cell: Cellname, matching: Matching) -> Float[Tensor, " component"]:
    """Mean contribution of each teacher component's pairs, by weight; not a number where it has none."""
    teacher, student = pair.influences(cell[0])
    each = contributions(matching, teacher.values, student.values) * matching.weight
    empty = torch.zeros(len(teacher.components), dtype=torch.float64)
    total = empty.index_add(0, matching.teacher, each)
    weight = empty.index_add(0, matching.teacher, matching.weight)
    return torch.where(weight > 0, total / weight, torch.nan)


def _shared_settings(pair: PairMeasurements) -> dict[str, Any]:
    return {k: v for k, v in pair.settings.to_dict().items() if k not in ("normalize", "matching", "null", "controls")}
