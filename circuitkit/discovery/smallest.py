"""The smallest circuit that an order of parts gives and that still keeps the behaviour."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent

_AT_ONCE = 8
_SMALL = 128
"""Parts up to which circuits cost about the same whatever their size, so that several are run together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Smallest:
    """What a search over sizes found.

    Attributes:
        size: The number of parts.
        value: The metric of that circuit.
        evaluations: How many circuits were run.
    """

    size: int
    value: float
    evaluations: int


def smallest(
    values: Callable[[Sequence[int]], Sequence[float]],
    n_parts: int,
    *,
    floor: float,
    stage: str = "circuits by size",
    progress: Progress = silent,
) -> Smallest:
    """Find the smallest number of parts whose circuit has at least `floor`.

    Sizes 1, 2, 4, ... are run first, then those between the first that is enough and the one before it, until no size
    is left between them. Where the metric does not grow with the size, a smaller one may have been passed over. The
    small ones are run several at a time; of the large ones none is run that a smaller one makes needless.

    Args:
        values: From numbers of parts to the metric of each circuit.
        n_parts: How many parts there are.
        floor: What the circuit must have.
        stage: Name of this work in progress reports.
        progress: Called as circuits are run; units are circuits, the total no more than may be needed.

    Raises:
        OptionError: Not even all parts are enough.
    """
    evaluations, low, high, found = 0, 0, 0, 0.0
    for some in _doubling(n_parts):
        evaluations += len(some)
        for size, value in zip(some, values(some), strict=True):
            if value >= floor:
                high, found = size, value
                break
            low = size
        progress(stage, evaluations, evaluations + _left(low, high or n_parts, doubling=not high))
        if high:
            break
    else:
        raise OptionError(
            f"Not even all {n_parts} of them keep a logit difference of {floor:.3f}; give a larger threshold, or a "
            "size by --top."
        )
    while high - low > 1:
        some = _between(low, high)
        evaluations += len(some)
        for size, value in zip(some, values(some), strict=True):
            if value >= floor:
                high, found = size, value
                break
            low = size
        progress(stage, evaluations, evaluations + _left(low, high, doubling=False))
    return Smallest(size=high, value=found, evaluations=evaluations)


def _doubling(n_parts: int) -> Iterator[list[int]]:
    """1, 2, 4, ... and all, the small ones together."""
    sizes = [2**i for i in range(n_parts.bit_length()) if 2**i < n_parts] + [n_parts]
    together = [size for size in sizes if size <= _SMALL]
    yield together
    for size in sizes[len(together) :]:
        yield [size]


def _between(low: int, high: int) -> list[int]:
    """Sizes to run next, in equal steps."""
    step = max(1, (high - low) // (_AT_ONCE + 1))
    return list(range(low + step, high, step))[:_AT_ONCE] if high <= _SMALL else [(low + high) // 2]


def _left(low: int, high: int, *, doubling: bool) -> int:
    """At most about how many circuits are still to be run: each halving, of those at the widest gap."""
    ahead = (high // max(low, 1)).bit_length() if doubling else 0
    gap = high // 2 if doubling else high - low
    if gap <= 1:
        return ahead
    return ahead + (_AT_ONCE if high <= _SMALL else (gap - 1).bit_length())
