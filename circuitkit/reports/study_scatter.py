"""Points of a study in a plane, as plotly figures in plain data."""

from statistics import fmean
from typing import Any

from circuitkit.reports.maps import Figure
from circuitkit.reports.numerals import fixed
from circuitkit.reports.study_record import PointsRecord, ScatterRecord

COLOURS = ("teacher", "student", "into-v", "into-mlp", "warn", "ink", "q5", "muted")
"""Colours of the groups, in their order; named in the style sheet."""
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "circle-open")


def scatter_figure(id_: str, record: ScatterRecord) -> Figure:
    """Points by group, every group with a colour and a symbol of its own; one unit is as long on both axes."""
    longest = max(len(group.name) for group in record.groups)
    rows = -(-len(record.groups) * (longest + 6) // 52)
    return Figure(
        id=id_,
        label=_describe(record),
        data=[_points(group, index) for index, group in enumerate(record.groups)],
        layout={
            "height": 400 + 20 * rows,
            "margin": {"l": 58, "r": 10, "t": 14 + 20 * rows, "b": 52},
            "legend": {"orientation": "h", "traceorder": "normal", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {"title": {"text": record.x_title, "standoff": 10}, "fixedrange": True, "nticks": 7},
            "yaxis": {
                "title": {"text": record.y_title},
                "fixedrange": True,
                "nticks": 7,
                "scaleanchor": "x",
                "scaleratio": 1,
            },
        },
    )


def _points(group: PointsRecord, index: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": group.name,
        "x": list(group.x),
        "y": list(group.y),
        "marker": {
            "color": f"var(--{COLOURS[index % len(COLOURS)]})",
            "symbol": _SYMBOLS[index % len(_SYMBOLS)],
            "size": 7,
            "opacity": 0.75,
        },
        "hovertemplate": f"{group.name}: %{{x:.3f}}, %{{y:.3f}}<extra></extra>",
    }


def _describe(record: ScatterRecord) -> str:
    told = [
        f"{group.name}: {len(group.x)} around {fixed(fmean(group.x))}, {fixed(fmean(group.y))}"
        for group in record.groups
        if group.x
    ]
    return f"{record.title}. {record.y_title} over {record.x_title}. {'; '.join(told)}."
