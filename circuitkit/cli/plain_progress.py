"""Progress where no bars can be drawn: now and then a plain line, so that a log of hours of work is not empty."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

SECONDS = 60.0
"""Least time between two lines."""


@dataclass(kw_only=True)
class PlainProgress:
    """Says a line of the stage that advances, one a minute at most; work of less than a minute is not spoken of.

    Attributes:
        say: Told each line.
        clock: Seconds from some moment.
    """

    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _last: float = field(init=False)
    _began: dict[str, tuple[float, int]] = field(init=False, default_factory=dict[str, tuple[float, int]])
    _done: dict[str, int] = field(init=False, default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self._last = self.clock()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of an advance."""
        now = self.clock()
        if stage not in self._began or done < self._done[stage]:  # it begins, or begins anew
            self._began[stage] = now, done
        self._done[stage] = done
        if now - self._last < SECONDS:
            return
        self._last = now
        self.say(f"{stage}: {done:,} of {total:,}{self._left(stage, done, total, now)}")

    def _left(self, stage: str, done: int, total: int, now: float) -> str:
        began, before = self._began[stage]
        if done == before:
            return ""
        seconds = (now - began) / (done - before) * (total - done)
        return f", about {seconds:.0f} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"
