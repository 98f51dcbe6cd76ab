"""Alignments of one pair of models on several tasks: the cross-task table (Table 3 of Distilled Circuits)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circuitkit.alignment.result import AlignmentResult
from circuitkit.core.run_directory import save_run

SCHEMA = "circuitkit.alignment-table/1"


def table_dict(results: Sequence[AlignmentResult]) -> dict[str, Any]:
    """The JSON contract: the whole result of every task, by the task's name."""
    return {"schema": SCHEMA, "tasks": {str(result.task["name"]): result.to_dict() for result in results}}


def save_table(results: Sequence[AlignmentResult], path: str | Path) -> Path:
    """Write the table as a run directory, and inside it one run directory a task.

    Raises:
        ResultError: It cannot be written.
    """
    out = save_run(Path(path), table_dict(results), {}, {})
    for result in results:
        result.save(out / str(result.task["name"]))
    return out
