"""The smallest circuit that an order of parts gives and that still keeps the behaviour."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from circuitkit.core.errors import OptionError

_AT_ONCE = 8


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


def smallest(values: Callable[[Sequence[int]], Sequence[float]], n_parts: int, *, floor: float) -> Smallest:
    """Find the smallest number of parts whose circuit has at least `floor`.

    Sizes 1, 2, 4, ... are run first, then those between the first that is enough and the one before it, until no size
    is left between them. Where the metric does not grow with the size, a smaller one may have been passed over.

    Args:
        values: From numbers of parts to the metric of each circuit.
        n_parts: How many parts there are.
        floor: What the circuit must have.

    Raises:
        OptionError: Not even all parts are enough.
    """
    sizes = [2**i for i in range(n_parts.bit_length()) if 2**i < n_parts] + [n_parts]
    evaluations, low, high = 0, 0, 0
    found = 0.0
    for start in range(0, len(sizes), _AT_ONCE):
        some = sizes[start : start + _AT_ONCE]
        evaluations += len(some)
        enough = [(size, value) for size, value in zip(some, values(some), strict=True) if value >= floor]
        if enough:
            high, found = enough[0]
            low = high // 2 if high in sizes[:-1] else sizes[-2] if len(sizes) > 1 else 0
            break
    else:
        raise OptionError(
            f"Not even all {n_parts} of them keep a logit difference of {floor:.3f}; give a larger threshold, or a "
            "size by --top."
        )
    while high - low > 1:
        step = max(1, (high - low) // (_AT_ONCE + 1))
        some = list(range(low + step, high, step))[:_AT_ONCE]
        evaluations += len(some)
        for size, value in zip(some, values(some), strict=True):
            if value >= floor:
                high, found = size, value
                break
            low = size
    return Smallest(size=high, value=found, evaluations=evaluations)
