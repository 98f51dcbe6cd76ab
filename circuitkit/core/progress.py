"""How long computations report where they are, without knowing who draws it."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Called whenever a stage of work advances.

    Work is counted in units of equal cost, so that a remaining time worked out from `done` is honest.
    """

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that `done` of `total` units of `stage` are finished."""
        ...


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


class Tally:
    """Counts what is done of a stage and reports it, from 0 on; never backwards.

    Args:
        progress: Called at the start and whenever more is done than was reported before.
        stage: Name of the stage.
        total: Units of work in it.

    Attributes:
        done: Units finished.
    """

    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self.done, self._told = 0, 0
        self._progress, self._stage, self._total = progress, stage, total
        progress(stage, 0, total)

    def add(self, units: int) -> None:
        """Some more units are finished."""
        self.done += units
        if self.done > self._told:
            self._told = self.done
            self._progress(self._stage, self.done, self._total)

    def back_to(self, done: int) -> None:
        """What was finished since then is lost and will be done again: it is not reported twice."""
        self.done = done
