"""From what was found to a `Study`: what all studies of a pair have in common is filled in here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_figure import StudyFigure
from circuitkit.experiments.study_table import StudyTable
from circuitkit.tasks.describe import describe_task


def make_study(
    pairs: Sequence[PairMeasurements],
    *,
    name: str,
    title: str,
    source: str,
    findings: Sequence[str],
    caution: str,
    tables: Mapping[str, StudyTable],
    figures: Mapping[str, StudyFigure],
    settings: Mapping[str, Any],
    notices: Sequence[str],
    tasks: Sequence[Mapping[str, Any]] | None = None,
) -> Study:
    """A study of one pair of models on one task or several.

    Args:
        pairs: What was measured, a task each.
        name: Name of the study.
        title: What it is, in a line.
        source: Where it is from.
        findings: What came out, in sentences.
        caution: What it cannot tell.
        tables: Its tables.
        figures: Its figures.
        settings: Every option.
        notices: What must be seen beside the numbers; repeated ones are left out.
        tasks: The prompts it rests on, if they are not those of the pairs.
    """
    first = pairs[0]
    return Study(
        name=name,
        title=title,
        source=source,
        models={"teacher": asdict(first.teacher_model.info), "student": asdict(first.student_model.info)},
        tasks=tuple(tasks) if tasks is not None else tuple(describe_task(pair.batches[0]) for pair in pairs),
        findings=tuple(findings),
        caution=caution,
        tables=tables,
        figures=figures,
        settings=settings,
        notices=tuple(dict.fromkeys(notices)),
        made_with=first.made_with,
    )
