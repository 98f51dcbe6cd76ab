"""The page of a reproduction: that of a study, over several pairs of models."""

from collections.abc import Mapping
from typing import Any

from circuitkit.reports.numerals import count
from circuitkit.reports.pages import Context
from circuitkit.reports.study_page import study_page

REPRODUCTION = "circuitkit.reproduction/1"


def reproduction_page(result: Mapping[str, Any]) -> Context:
    """Context of `study.html.j2`.

    Raises:
        ResultError: The result lacks something that the report shows.
    """
    page = study_page(result)
    record = page["record"]
    names = [model.name for model in page["models"]]
    pairs = ", ".join(f"{teacher}/{student}" for teacher, student in zip(names[::2], names[1::2], strict=True))
    tasks = ", ".join(f"{task.name} ({count(task.n_prompts)} prompts)" for task in record.tasks)
    return {
        **page,
        "title": f"{record.title}: {pairs}",
        "kicker": "Reproduction",
        "tables_first": True,
        "subject": f"{pairs}, on {tasks}; every study in a run of its own",
    }
