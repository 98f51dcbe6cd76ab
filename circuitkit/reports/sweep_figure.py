"""Size and metrics of circuits against a method's parameter."""

from collections.abc import Mapping, Sequence
from typing import Any

from circuitkit.reports.circuit_study_records import SweepPoint, SweepRecord
from circuitkit.reports.line_figures import Style, axis, level, line, spans_decades, with_bars
from circuitkit.reports.maps import Figure
from circuitkit.reports.numerals import fixed

_METRICS: dict[str, Style] = {
    "faithfulness": ("faithfulness", "var(--teacher)", "circle", "solid"),
    "complement_share": ("left without the circuit", "var(--student)", "square", "dash"),
    "accuracy": ("accuracy", "var(--soft)", "diamond", "dot"),
}
_SIZES: dict[str, Style] = {
    "n_nodes": ("components", "var(--teacher)", "circle-open", "solid"),
    "n_edges": ("edges", "var(--student)", "square-open", "dash"),
}
_KL: Style = ("KL", "var(--warn)", "triangle-up", "dashdot")


def sweep_figure(id_: str, record: SweepRecord) -> Figure:
    """Shares above KL above sizes, on one axis of the parameter."""
    points = sorted(record.points, key=lambda point: point.value)
    xs = [point.value for point in points]
    log = spans_decades(xs)
    kl = [point.kl for point in points]
    has_kl = any(value is not None for value in kl)
    panels = [("share", _drawn(points, _METRICS, "y"))]
    if has_kl:
        panels.append(("KL, nats", [line(xs, kl, _KL, axis="y2")]))
    size_axis = f"y{len(panels) + 1}"
    panels.append(("kept", _drawn(points, _SIZES, size_axis)))
    sizes = [float(n) for point in points for n in (point.n_nodes, point.n_edges) if n is not None]
    layout = _panels([name for name, _ in panels])
    bottom = layout[f"yaxis{len(panels)}"]
    if spans_decades(sizes):
        bottom |= {"type": "log", "nticks": 4}
    else:
        bottom |= {"rangemode": "tozero"}
    layout["xaxis"] = {**axis(_PARAMETERS[record.parameter], xs, log=log), "anchor": size_axis}
    first, last = points[0], points[-1]
    return Figure(
        id=id_,
        label=f"Size and quality of the circuit against {_PARAMETERS[record.parameter]}: "
        f"{_told(first, record)}; {_told(last, record)}.",
        data=[trace for _, traces in panels for trace in traces],
        layout={**layout, "shapes": [level(1.0, "y")]},
    )


_PARAMETERS = {
    "threshold": "threshold T (share of the answer that the circuit may lose)",
    "tau": "threshold \u03c4",
    "top": "number of edges or components kept",
}


def _told(point: SweepPoint, record: SweepRecord) -> str:
    faithful = "" if point.faithfulness is None else f", faithfulness {fixed(point.faithfulness)}"
    return f"at {record.parameter} {point.value:g}, {point.n_nodes} components{faithful}"


def _drawn(points: Sequence[SweepPoint], which: Mapping[str, Style], upright: str) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = []
    for key, style in which.items():
        found: list[float | None] = [getattr(point, key) for point in points]
        if all(value is None for value in found):
            continue
        values = [None if value is None else float(value) for value in found]
        trace = line([point.value for point in points], values, style, axis=upright)
        ends = [point.ci95 for point in points]
        if key == "faithfulness" and any(ends):
            trace = with_bars(trace, ends)
        traces.append(trace)
    return traces


def _panels(names: Sequence[str]) -> dict[str, Any]:
    """Panels one above the other, the first the tallest."""
    heights = [1.5] + [1.0] * (len(names) - 1)
    total, top = sum(heights) + 0.12 * (len(names) - 1), 1.0
    axes: Mapping[str, Any] = {}
    for index, (name, tall) in enumerate(zip(names, heights, strict=True)):
        low = max(0.0, top - tall / total)
        axis = {"title": {"text": name}, "domain": [round(low, 4), round(top, 4)], "fixedrange": True, "nticks": 6}
        axes = {**axes, "yaxis" if index == 0 else f"yaxis{index + 1}": axis}
        top = low - 0.12 / total
    return {
        "height": 210 + 130 * len(names),
        "margin": {"l": 62, "r": 12, "t": 40, "b": 54},
        "hovermode": "x unified",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        **axes,
    }
