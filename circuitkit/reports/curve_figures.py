"""Faithfulness against the size of the circuit, and size and metrics against a method's parameter."""

from collections.abc import Mapping, Sequence
from typing import Any

from circuitkit.reports.circuit_record import CircuitRecord, Curve
from circuitkit.reports.circuit_study_records import SweepPoint, SweepRecord
from circuitkit.reports.maps import Figure
from circuitkit.reports.numerals import fixed, interval

_LOG_FROM = 20.0  # ratio of the largest to the smallest value from which an axis is logarithmic
_Style = tuple[str, str, str, str]
"""Name, colour, symbol and dash of a line."""

_METRICS: dict[str, _Style] = {
    "faithfulness": ("faithfulness", "var(--teacher)", "circle", "solid"),
    "completeness": ("completeness", "var(--student)", "square", "dash"),
    "accuracy": ("accuracy", "var(--soft)", "diamond", "dot"),
}
_SIZES: dict[str, _Style] = {
    "n_nodes": ("components", "var(--teacher)", "circle-open", "solid"),
    "n_edges": ("edges", "var(--student)", "square-open", "dash"),
}
_KL: _Style = ("KL", "var(--warn)", "triangle-up", "dashdot")
_GROWING: _Style = ("circuits of each size", "var(--teacher)", "circle", "solid")
_HERE: _Style = ("this circuit", "var(--student)", "diamond", "solid")


def spans_decades(values: Sequence[float]) -> bool:
    """Whether values are better read on a logarithmic axis."""
    return min(values) > 0 and max(values) / min(values) >= _LOG_FROM


def curve_figure(id_: str, record: CircuitRecord, curve: Curve) -> Figure:
    """Faithfulness of circuits of growing size, with the circuit of this report and a line at 1."""
    what = "components" if record.edges is None else "edges"
    as_share = max(curve.sizes) <= 1
    points = sorted(zip(curve.sizes, curve.faithfulness, strict=True))
    data = [_line([x for x, _ in points], [y for _, y in points], _GROWING)]
    kept = float(len(record.nodes) if record.edges is None else len(record.edges))
    possible = record.n_possible.nodes if record.edges is None else record.n_possible.edges
    size = kept if not as_share else kept / possible if possible else None
    if record.faithfulness.faithfulness is not None and size:
        here = _line([size], [record.faithfulness.faithfulness.mean], _HERE)
        data.append({**here, "mode": "markers", "marker": {**here["marker"], "size": 13}})
    positive = [x for x in curve.sizes if x > 0]
    log = bool(positive) and len(positive) == len(curve.sizes) and spans_decades(positive)
    title = f"share of all {what} kept" if as_share else f"{what} kept"
    return Figure(
        id=id_,
        label=f"Faithfulness against size: {fixed(points[0][1])} at the smallest, {fixed(points[-1][1])} at "
        f"the largest of {len(points)} sizes.",
        data=data,
        layout={
            "height": 340,
            "margin": {"l": 58, "r": 12, "t": 34, "b": 52},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": _axis(title, curve.sizes, log=log),
            "yaxis": {"title": {"text": "faithfulness"}, "fixedrange": True},
            "shapes": [_level(1.0, "y")],
        },
    )


def sweep_figure(id_: str, record: SweepRecord) -> Figure:
    """Shares above KL above sizes, on one axis of the parameter."""
    points = sorted(record.points, key=lambda point: point.value)
    xs = [point.value for point in points]
    log = spans_decades(xs)
    kl = [point.kl for point in points]
    has_kl = any(value is not None for value in kl)
    panels = [("share", _drawn(points, _METRICS, "y"))]
    if has_kl:
        panels.append(("KL, nats", [_line(xs, kl, _KL, axis="y2")]))
    size_axis = f"y{len(panels) + 1}"
    panels.append(("kept", _drawn(points, _SIZES, size_axis)))
    sizes = [float(n) for point in points for n in (point.n_nodes, point.n_edges) if n is not None]
    layout = _panels([name for name, _ in panels])
    bottom = layout[f"yaxis{len(panels)}"]
    if spans_decades(sizes):
        bottom |= {"type": "log", "nticks": 4}
    else:
        bottom |= {"rangemode": "tozero"}
    layout["xaxis"] = {**_axis(_PARAMETERS[record.parameter], xs, log=log), "anchor": size_axis}
    first, last = points[0], points[-1]
    return Figure(
        id=id_,
        label=f"Size and quality of the circuit against {_PARAMETERS[record.parameter]}: "
        f"{_told(first, record)}; {_told(last, record)}.",
        data=[trace for _, traces in panels for trace in traces],
        layout={**layout, "shapes": [_level(1.0, "y")]},
    )


_PARAMETERS = {
    "threshold": "threshold T (share of the answer that a removal may cost)",
    "tau": "threshold \u03c4",
    "top": "number of edges or components kept",
}


def _told(point: SweepPoint, record: SweepRecord) -> str:
    faithful = "" if point.faithfulness is None else f", faithfulness {fixed(point.faithfulness)}"
    return f"at {record.parameter} {point.value:g}, {point.n_nodes} components{faithful}"


def _drawn(points: Sequence[SweepPoint], which: Mapping[str, _Style], axis: str) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = []
    for key, style in which.items():
        found: list[float | None] = [getattr(point, key) for point in points]
        if all(value is None for value in found):
            continue
        values = [None if value is None else float(value) for value in found]
        trace = _line([point.value for point in points], values, style, axis=axis)
        if key == "faithfulness" and any(point.ci95 for point in points):
            trace["error_y"] = _bars(points)
            trace["customdata"] = [interval(point.ci95) for point in points]
            trace["hovertemplate"] = "%{y:.3f} (95% interval %{customdata})"
        traces.append(trace)
    return traces


def _bars(points: Sequence[SweepPoint]) -> dict[str, Any]:
    ends = [
        (0.0, 0.0)
        if point.ci95 is None or point.faithfulness is None
        else (max(0.0, point.faithfulness - point.ci95[0]), max(0.0, point.ci95[1] - point.faithfulness))
        for point in points
    ]
    return {
        "type": "data",
        "symmetric": False,
        "arrayminus": [round(low, 5) for low, _ in ends],
        "array": [round(high, 5) for _, high in ends],
        "thickness": 1.4,
        "width": 3,
    }


def _line(xs: Sequence[float], ys: Sequence[float | None], style: _Style, *, axis: str = "y") -> dict[str, Any]:
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


def _axis(title: str, values: Sequence[float], *, log: bool) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": title, "standoff": 10}, "fixedrange": True}
    if not log:
        return axis
    decades = max(values) / min(values) >= 100
    return {**axis, "type": "log", **({"dtick": 1} if decades else {})}


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


def _level(value: float, axis: str) -> dict[str, Any]:
    ends = {"xref": "paper", "x0": 0, "x1": 1, "yref": axis, "y0": value, "y1": value}
    return {"type": "line", **ends, "layer": "below", "line": {"color": "var(--muted)", "width": 1.2, "dash": "dot"}}
