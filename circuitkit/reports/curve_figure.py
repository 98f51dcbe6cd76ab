"""Faithfulness of circuits of growing size, as a figure."""

from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.judgement_record import Curve
from circuitkit.reports.line_figures import Style, axis, level, line, spans_decades, with_bars
from circuitkit.reports.maps import Figure
from circuitkit.reports.numerals import fixed

_BY_VALUE: Style = ("highest scores first", "var(--teacher)", "circle", "solid")
_BY_MAGNITUDE: Style = ("highest absolute scores first", "var(--soft)", "square-open", "dash")
_HERE: Style = ("this circuit", "var(--student)", "diamond", "solid")


def curve_figure(id_: str, record: CircuitRecord, curve: Curve) -> Figure | None:
    """Faithfulness against size, with the circuit of this report and a line at 1; None where it is not defined."""
    if curve.faithfulness is None:
        return None
    by_value, by_magnitude = curve.faithfulness, curve.faithfulness_by_magnitude
    data = [line(curve.sizes, by_value, _BY_VALUE)]
    if curve.ci95.faithfulness is not None:
        data = [with_bars(data[0], curve.ci95.faithfulness)]
    if by_magnitude is not None and by_magnitude != by_value:
        data.append(line(curve.sizes, by_magnitude, _BY_MAGNITUDE))
    here = _size(record, curve)
    faithful = None if record.faithfulness is None else record.faithfulness.faithfulness
    if faithful is not None and here:
        point = line([here], [faithful.mean], _HERE)
        data.append({**point, "mode": "markers", "marker": {**point["marker"], "size": 13}})
    what = "components" if record.edges is None else "edges"
    title = f"share of all {what} kept" if _in_shares(curve) else f"{what} kept"
    return Figure(
        id=id_,
        label=f"Faithfulness against size: {fixed(by_value[0])} at the smallest, {fixed(by_value[-1])} at the largest "
        f"of {len(by_value)} sizes.",
        data=data,
        layout={
            "height": 340,
            "margin": {"l": 58, "r": 12, "t": 34, "b": 52},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": axis(title, curve.sizes, log=spans_decades(curve.sizes)),
            "yaxis": {"title": {"text": "faithfulness"}, "fixedrange": True},
            "shapes": [level(1.0, "y")],
        },
    )


def _in_shares(curve: Curve) -> bool:
    return max(curve.sizes) <= 1


def _size(record: CircuitRecord, curve: Curve) -> float | None:
    """The circuit's own size in the unit of the curve; None where that is not known."""
    kept = float(len(record.nodes) if record.edges is None else len(record.edges))
    if not _in_shares(curve):
        return kept
    possible = record.n_possible.nodes if record.edges is None else record.n_possible.edges
    return kept / possible if possible else None
