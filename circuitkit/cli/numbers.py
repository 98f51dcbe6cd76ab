"""Numbers as terminals show them."""

from collections.abc import Sequence


def interval(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """`[low, high]`, or nothing where intervals are off."""
    return "" if bounds is None else f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"


def number(value: float | None) -> str:
    """Three digits, or a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"
