"""Standard error for people: notices, progress with a remaining time, tables. Standard output stays clean."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from circuitkit.cli.plain_progress import PlainProgress
from circuitkit.core.progress import Progress as ProgressCallback
from circuitkit.core.utf8 import printable

SHOWN = 8
"""Stages that are drawn at a time."""


@cache
def stderr() -> Console:
    """The console on standard error."""
    return Console(stderr=True, highlight=False)


def notice(text: str) -> None:
    """Print one plain line on standard error, as it is, never as markup."""
    stderr().print(printable(text), markup=False, soft_wrap=True)


class _Label(ProgressColumn):
    """Says whether the time behind it is still to come."""

    def render(self, task: Task) -> Text:
        return Text("took" if task.finished else "left")


@contextmanager
def progress_bars() -> Generator[ProgressCallback]:
    """Draw one bar a stage while the block runs, the current one last.

    Only the last few stages are shown: a terminal cuts off what is below its last line. Where standard error is no
    terminal, a plain line is printed instead, one a minute.
    """
    if not stderr().is_terminal:
        yield PlainProgress(say=notice)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Label(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    bars = Progress(*columns, console=stderr())
    stages: dict[str, TaskID] = {}

    def advance(stage: str, done: int, total: int) -> None:
        known = stages.get(stage)
        if known is not None and done < bars.tasks[bars.task_ids.index(known)].completed:  # it begins anew
            bars.remove_task(stages.pop(stage))
        if stage not in stages:
            stages[stage] = bars.add_task(stage, total=total)
        for old in list(stages)[:-SHOWN]:
            bars.remove_task(stages.pop(old))
        bars.update(stages[stage], completed=done, total=total)

    with bars:
        yield advance
