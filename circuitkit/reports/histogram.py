"""How much single components carry: histograms of the drops of both models on one axis."""

import math
from collections.abc import Mapping
from typing import Any

from circuitkit.core.component import Component
from circuitkit.reports.alignment_record import AlignmentRecord
from circuitkit.reports.maps import Figure
from circuitkit.reports.numerals import fixed
from circuitkit.reports.records import Effect

_BINS = 24


def drop_histogram(id_: str, record: AlignmentRecord) -> Figure:
    """Teacher above student, heads stacked under MLPs, on one axis.

    Drops are in percent of each model's own logit difference, or in logits where one of the two models has
    no logit difference clearly above zero.
    """
    percent = record.robustness.teacher is not None and record.robustness.student is not None
    scales = {
        "teacher": 100 / record.teacher_logit_diff.mean if percent else 1.0,
        "student": 100 / record.student_logit_diff.mean if percent else 1.0,
    }
    effects = {"teacher": record.influence.teacher, "student": record.influence.student}
    drops = {who: _by_kind(effects[who], scale) for who, scale in scales.items()}
    edges = _edges([v for kinds in drops.values() for values in kinds.values() for v in values])
    unit = "%" if percent else "logits"
    data = [
        _bars(who, kind, values, edges, unit)
        for who, kinds in drops.items()
        for kind, values in kinds.items()
        if values
    ]
    return Figure(id=id_, label=_describe(drops, unit), data=data, layout=_layout(percent))


def _by_kind(effects: Mapping[str, Effect], scale: float) -> dict[str, list[float]]:
    kinds: dict[str, list[float]] = {"head": [], "mlp": []}
    for name, effect in effects.items():
        kinds[Component.parse(name).kind].append(effect.drop * scale)
    return kinds


def _edges(values: list[float]) -> list[float]:
    """Edges of bins of one round width (1, 2, 2.5 or 5 times a power of ten) with an edge at zero."""
    span = max(values) - min(values) or 1.0
    power = 10.0 ** math.floor(math.log10(span / _BINS))
    width = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power * _BINS >= span)
    first, last = math.floor(min(values) / width), math.floor(max(values) / width) + 1
    return [index * width for index in range(first, last + 1)]


def _bars(who: str, kind: str, values: list[float], edges: list[float], unit: str) -> dict[str, Any]:
    width = edges[1] - edges[0]
    counts = [0] * (len(edges) - 1)
    for value in values:
        counts[min(len(counts) - 1, math.floor((value - edges[0]) / width + 1e-9))] += 1
    digits = 1 - math.floor(math.log10(width) + 1e-9) if width < 1 else 0
    full = [(edge, number) for edge, number in zip(edges[:-1], counts, strict=True) if number]
    name = "heads" if kind == "head" else "MLPs"
    return {
        "type": "bar",
        "name": f"{who}: {name}",
        "x": [round(edge + width / 2, 6) for edge, _ in full],
        "y": [number for _, number in full],
        "width": round(width * 0.94, 6),
        "customdata": [f"{fixed(a, digits)} to {fixed(a + width, digits)} {unit}" for a, _ in full],
        "hovertemplate": f"%{{y}} {name} of the {who}<br>drop %{{customdata}}<extra></extra>",
        "marker": {
            "color": f"var(--{who})" if kind == "head" else "var(--paper)",
            "line": {"color": f"var(--{who})", "width": 1.5},
            "pattern": {"shape": "" if kind == "head" else "/", "fgcolor": f"var(--{who})", "size": 5},
        },
        "xaxis": "x",
        "yaxis": "y" if who == "teacher" else "y2",
    }


def _layout(percent: bool) -> dict[str, Any]:
    title = "drop when removed, % of own logit difference" if percent else "drop when removed, logits"
    count = {"rangemode": "tozero", "fixedrange": True, "nticks": 5}
    marks = [10, 20] if percent else []
    return {
        "height": 360,
        "barmode": "stack",
        "margin": {"l": 52, "r": 8, "t": 34, "b": 52},
        "legend": {"orientation": "h", "traceorder": "normal", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {
            "title": {"text": title, "standoff": 10},
            "anchor": "y2",
            "fixedrange": True,
            "showgrid": False,
            "exponentformat": "power",
        },
        "yaxis": {**count, "domain": [0.54, 1], "title": {"text": "teacher"}},
        "yaxis2": {**count, "domain": [0, 0.46], "title": {"text": "student"}},
        "shapes": [
            {
                "type": "line",
                "xref": "x",
                "yref": "paper",
                "x0": mark,
                "x1": mark,
                "y0": 0,
                "y1": 1,
                "layer": "below",
                "line": {"color": "var(--muted)", "width": 1, "dash": "dot"},
            }
            for mark in marks
        ],
    }


def _describe(drops: Mapping[str, Mapping[str, list[float]]], unit: str) -> str:
    parts: list[str] = []
    for who, kinds in drops.items():
        values = sorted(v for group in kinds.values() for v in group)
        middle = values[len(values) // 2]
        parts.append(f"{who} median {fixed(middle, 1)} {unit}, largest {fixed(values[-1], 1)} {unit}")
    return f"Histograms of the drops of single components: {'; '.join(parts)}."
