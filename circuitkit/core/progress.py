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
