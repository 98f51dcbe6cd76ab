"""The measuring of a command: its progress bars, and what is said when it begins."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from circuitkit.cli.console import notice, progress_bars
from circuitkit.core.progress import Progress
from circuitkit.core.run_path import RESULT
from circuitkit.tasks.stages import READING


@contextmanager
def measuring(out: Path | None) -> Generator[Progress]:
    """Draw progress bars; say that an earlier run will go, when all options have been found good and work begins.

    Some options can be judged only by models and prompts. Work has begun when a stage other than the reading of
    prompts reports; where everything is found on disk no stage may, and it is said at the end.

    Args:
        out: The run directory; None where it has been spoken of before.
    """
    waiting = out is not None and (out / RESULT).exists()

    def say() -> None:
        nonlocal waiting
        if waiting:
            notice(f"This run replaces the earlier run in {out}.")
        waiting = False

    with progress_bars() as bars:

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in READING:
                say()
            bars(stage, done, total)

        yield advance
        say()
