"""Lines, axes and error bars of plotly figures in plain data."""

from collections.abc import Sequence
from typing import Any

from circuitkit.reports.numerals import interval
from circuitkit.reports.records import Interval

_LOG_FROM = 20.0  # ratio of the largest to the smallest value from which an axis is logarithmic
Style = tuple[str, str, str, str]
"""Name, colour, symbol and dash of a line."""


def spans_decades(values: Sequence[float]) -> bool:
    """Whether values are better read on a logarithmic axis."""
    return min(values) > 0 and max(values) / min(values) >= _LOG_FROM


def line(xs: Sequence[float], ys: Sequence[float | None], style: Style, *, axis: str = "y") -> dict[str, Any]:
    """A line with its points; `axis` is the vertical one."""
    name, colour, symbol, dash = style
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(xs),
        "y": [None if y is None else round(y, 5) for y in ys],
        "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"color": colour, "symbol": symbol, "size": 7},
        "hovertemplate": "%{y:.4~g}",
        "xaxis": "x",
        "yaxis": axis,
    }


def axis(title: str, values: Sequence[float], *, log: bool) -> dict[str, Any]:
    """A horizontal axis; with powers of ten only where it spans several."""
    made: dict[str, Any] = {"title": {"text": title, "standoff": 10}, "fixedrange": True}
    if not log:
        return made
    decades = max(values) / min(values) >= 100
    return {**made, "type": "log", **({"dtick": 1} if decades else {})}


def with_bars(trace: dict[str, Any], ends: Sequence[Interval | None]) -> dict[str, Any]:
    """A line with 95% intervals at its points, also in words when pointed at."""
    ways = [
        (0.0, 0.0) if y is None or e is None else (y - e[0], e[1] - y) for y, e in zip(trace["y"], ends, strict=True)
    ]
    return {
        **trace,
        "error_y": {
            "type": "data",
            "symmetric": False,
            "arrayminus": [round(max(0.0, low), 5) for low, _ in ways],
            "array": [round(max(0.0, high), 5) for _, high in ways],
            "thickness": 1.4,
            "width": 3,
        },
        "customdata": [interval(bounds) for bounds in ends],
        "hovertemplate": "%{y:.3f} (95% interval %{customdata})",
    }


def level(value: float, axis: str) -> dict[str, Any]:
    """A dotted line across the whole figure."""
    ends = {"xref": "paper", "x0": 0, "x1": 1, "yref": axis, "y0": value, "y1": value}
    return {"type": "line", **ends, "layer": "below", "line": {"color": "var(--muted)", "width": 1.2, "dash": "dot"}}
