"""Standard error for people: notices, progress with a remaining time, tables. Standard output stays clean."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from circuitkit.core.progress import Progress as ProgressCallback
from circuitkit.core.utf8 import printable


@cache
def stderr() -> Console:
    """The console on standard error."""
    return Console(stderr=True, highlight=False)


def notice(text: str) -> None:
    """Print one plain line on standard error, as it is, never as markup."""
    stderr().print(printable(text), markup=False, soft_wrap=True)


@contextmanager
def progress_bars() -> Generator[ProgressCallback]:
    """Draw one bar a stage while the block runs; quiet where standard error is no terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    bars = Progress(*columns, console=stderr(), disable=not stderr().is_terminal)
    stages: dict[str, TaskID] = {}

    def advance(stage: str, done: int, total: int) -> None:
        if stage not in stages:
            stages[stage] = bars.add_task(stage, total=total)
        bars.update(stages[stage], completed=done, total=total)

    with bars:
        yield advance
