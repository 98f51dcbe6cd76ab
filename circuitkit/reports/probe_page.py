"""From a checked result of probes to what its page's template needs."""

from collections.abc import Mapping, Sequence
from typing import Any

from circuitkit.reports.line_figures import Style, level, line, with_bars
from circuitkit.reports.maps import Figure
from circuitkit.reports.numerals import fixed
from circuitkit.reports.pages import Context, provenance
from circuitkit.reports.probe_record import ProbeCurve, ProbeRecord, ProbeRow
from circuitkit.reports.probe_verdict import model_names, probe_verdict
from circuitkit.reports.records import read_record

_LOOKS = {
    "model": ("var(--teacher)", "circle", "solid"),
    "student": ("var(--student)", "square", "dash"),
    "random": ("var(--muted)", "diamond-open", "dot"),
}
_CONTROL = ("var(--muted)", "line-ew-open", "dot")
_SPREAD = 0.8  # of a layer's width, for its heads


def probe_page(result: Mapping[str, Any]) -> Context:
    """Context of `probe.html.j2`.

    Raises:
        ResultError: The result lacks something that the report shows.
    """
    record = read_record(ProbeRecord, result)
    names = model_names(record)
    figures = [_figure(i, [c for c in record.curves if c.target == t], names) for i, t in enumerate(record.targets)]
    return {
        "title": f"Probes of {record.model.name} on {record.task.name}",
        "kicker": "What linear probes can tell",
        "record": record,
        "names": names,
        "verdict": probe_verdict(record),
        "figures": [figure.plain() for figure in figures],
        "plots": list(zip(record.targets, figures, strict=True)),
        "abouts": [next(c for c in record.curves if c.target == target) for target in record.targets],
        "attention": [],
        "models": tuple(m for m in (record.model, record.student) if m is not None),
        "provenance": provenance(result),
    }


def _figure(number: int, curves: Sequence[ProbeCurve], names: Mapping[str, str]) -> Figure:
    """One target: a line a model, the control of the first one, and chance."""
    first = curves[0]
    heads = any(row.head is not None for curve in curves for row in curve.rows)
    data: list[dict[str, Any]] = []
    for curve in curves:
        style: Style = (names[curve.who], *_LOOKS[curve.who])
        data.append(_drawn(curve.rows, [row.value for row in curve.rows], style, heads=heads))
        data[-1] = with_bars(data[-1], [row.ci95 for row in curve.rows])
        data[-1]["text"] = [row.name for row in curve.rows]
        data[-1]["hovertemplate"] = "%{text}: " + data[-1]["hovertemplate"]
    control: Style = (f"{names[first.who]}, labels shuffled", *_CONTROL)
    data.append(_drawn(first.rows, [row.control for row in first.rows], control, heads=heads))
    depth = 1 + max(row.layer for curve in curves for row in curve.rows)
    every = max(1, -(-depth // 16))
    ticks = [layer for layer in range(depth) if layer % every == 0]
    return Figure(
        id=f"probe{number}",
        label=f"{first.metric} of probes for {first.target}: "
        + "; ".join(f"{names[c.who]} at best {fixed(c.best_row.value)} at {c.best}" for c in curves)
        + f"; chance {fixed(first.chance)}.",
        data=data,
        layout={
            "height": 300,
            "margin": {"l": 54, "r": 10, "t": 58, "b": 46},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {
                "title": {"text": "layer", "standoff": 8},
                "tickvals": [-1, *ticks],
                "ticktext": ["embed", *(str(layer) for layer in ticks)],
                "range": [-1.4, depth - 0.5],
                "fixedrange": True,
            },
            "yaxis": {"title": {"text": first.metric}, "range": [-0.03, 1.05], "fixedrange": True, "nticks": 6},
            "shapes": [level(first.chance, "y")],
        },
    )


def _drawn(rows: Sequence[ProbeRow], values: Sequence[float], style: Style, *, heads: bool) -> dict[str, Any]:
    most = 1 + max((row.head or 0 for row in rows), default=0)
    xs = [-1.0, *(row.layer + _offset(row, most) for row in rows[1:])]
    trace = line(xs, values, style)
    return {**trace, "mode": "markers"} if heads else trace


def _offset(row: ProbeRow, n_heads: int) -> float:
    return 0.0 if row.head is None else _SPREAD * ((row.head + 0.5) / n_heads - 0.5)
