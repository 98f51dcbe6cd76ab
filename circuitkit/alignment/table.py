"""Alignments of one pair of models on several tasks: the cross-task table (Table 3 of Distilled Circuits)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circuitkit.alignment.result import AlignmentResult
from circuitkit.core.errors import TaskError
from circuitkit.core.run_directory import save_run
from circuitkit.core.run_path import RUN_FILES

SCHEMA = "circuitkit.alignment-table/1"


def check_task_names(names: Sequence[str]) -> None:
    """Refuse names under which one task would hide another in a table or its directory.

    Raises:
        TaskError: A name is given twice (also in other capitals: some file systems do not tell), is that of a
            file of the run, or cannot be that of a directory.
    """
    counts = Counter(name.casefold() for name in names)
    if twice := [name for name in names if counts[name.casefold()] > 1]:
        raise TaskError(
            f"{len(twice)} of the tasks are called {twice[0]!r}; in one table each needs a name of its own. "
            "Rename a file, or align them one by one."
        )
    for name in names:
        if name.casefold() in RUN_FILES or name in ("", ".", "..") or "/" in name:
            raise TaskError(f"A task called {name!r} cannot stand in a table of several. Rename it.")


def table_dict(results: Sequence[AlignmentResult]) -> dict[str, Any]:
    """The JSON contract: the whole result of every task, by the task's name.

    Raises:
        TaskError: Two tasks share a name, or one has a name that a table cannot hold.
    """
    by_name = _by_name(results)
    return {"schema": SCHEMA, "tasks": {name: result.to_dict() for name, result in by_name.items()}}


def save_table(results: Sequence[AlignmentResult], path: str | Path) -> Path:
    """Write the table as a run directory, and inside it one run directory a task: all of it or nothing.

    Raises:
        TaskError: Two tasks share a name, or one has a name that a table cannot hold.
        ResultError: It cannot be written.
    """
    table = table_dict(results)
    runs = {name: (table["tasks"][name], *result.tensors()) for name, result in _by_name(results).items()}
    return save_run(Path(path), table, {}, {}, children=runs)


def _by_name(results: Sequence[AlignmentResult]) -> dict[str, AlignmentResult]:
    names = [str(result.task["name"]) for result in results]
    check_task_names(names)
    return dict(zip(names, results, strict=True))
