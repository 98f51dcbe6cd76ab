"""Lines and bars of a study, as plotly figures in plain data."""

from collections.abc import Sequence
from typing import Any

from circuitkit.reports.line_figures import level, spans_decades
from circuitkit.reports.maps import Figure
from circuitkit.reports.numerals import fixed, interval
from circuitkit.reports.study_record import ChartRecord, SeriesRecord

_OTHERS = ("var(--accent)", "var(--warn)", "var(--into-v)", "var(--into-mlp)", "var(--soft)")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")
_DASHES = ("solid", "dash", "dashdot", "longdash")
_MARKERS_UP_TO = 24
_LEVEL_GAP = 12


def chart_figure(id_: str, chart: ChartRecord) -> Figure:
    """A chart with its intervals: bands or error bars on lines, error bars on bars."""
    names = [str(x) for series in chart.series for x in series.x]
    long = chart.kind == "bars" and max(map(len, names), default=0) * len(set(names)) > 90
    return Figure(
        id=id_,
        label=_describe(chart),
        data=[
            trace
            for index, series in enumerate(chart.series)
            for trace in (_lines(series, index) if chart.kind == "lines" else [_bars(series, index)])
        ],
        layout={
            "height": 400 + 16 * (len(chart.series) // 3) + (50 if long else 0),
            "barmode": "group",
            "margin": {"l": 62, "r": 12, "t": 30 + 22 * (1 + len(chart.series) // 3), "b": 110 if long else 56},
            "legend": {"orientation": "h", "traceorder": "normal", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {"title": {"text": chart.x_title, "standoff": 10}, "fixedrange": True, "automargin": True},
            "yaxis": {"title": {"text": chart.y_title}, "fixedrange": True, "nticks": 7, **_scale(chart)},
            "shapes": [level(value, "y") for _, value in chart.levels],
            "annotations": [_level_name(name, value) for name, value in chart.levels],
        },
    )


def _scale(chart: ChartRecord) -> dict[str, Any]:
    known = [y for series in chart.series for y in (*series.y, *(series.low or ())) if y is not None]
    if chart.log_y:
        return {"type": "log", "dtick": 1 if spans_decades(known or [1.0]) else "D1", "exponentformat": "none"}
    return {"rangemode": "tozero"} if chart.kind == "bars" or min(known, default=-1.0) >= 0 else {}


def _level_name(name: str, value: float) -> dict[str, Any]:
    place = {"xref": "paper", "x": 0, "xanchor": "left", "yref": "y", "y": value, "yanchor": "bottom"}
    return {**place, "text": name, "showarrow": False, "yshift": 1, "font": {"size": _LEVEL_GAP}}


def _colour(series: SeriesRecord, index: int) -> str:
    return _OTHERS[index % len(_OTHERS)] if series.who == "other" else f"var(--{series.who})"


def _ends(series: SeriesRecord) -> list[tuple[float, float] | None]:
    if series.low is None or series.high is None:
        return [None] * len(series.y)
    pairs = zip(series.low, series.high, strict=True)
    return [None if low is None or high is None else (low, high) for low, high in pairs]


def _bars_of(series: SeriesRecord) -> dict[str, Any]:
    """Error bars; an end within the value, as rounding may give, has no length."""
    ways = [
        (0.0, 0.0) if y is None or e is None else (max(0.0, y - e[0]), max(0.0, e[1] - y))
        for y, e in zip(series.y, _ends(series), strict=True)
    ]
    return {
        "type": "data",
        "symmetric": False,
        "arrayminus": [round(low, 5) for low, _ in ways],
        "array": [round(high, 5) for _, high in ways],
        "thickness": 1.4,
        "width": 3,
    }


def _lines(series: SeriesRecord, index: int) -> list[dict[str, Any]]:
    colour, ends = _colour(series, index), _ends(series)
    has_ends, many = any(ends), len(series.x) > _MARKERS_UP_TO
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines" if many else "lines+markers",
        "name": series.name,
        "x": list(series.x),
        "y": _rounded(series.y),
        "line": {"color": colour, "width": 2, "dash": "dot" if series.who == "null" else _DASHES[index % len(_DASHES)]},
        "marker": {"color": colour, "symbol": _SYMBOLS[index % len(_SYMBOLS)], "size": 7},
        "customdata": [interval(e, 3) for e in ends],
        "hovertemplate": "%{y:.3f} (95% interval %{customdata})" if has_ends else "%{y:.4~g}",
    }
    if has_ends and not many:
        return [{**trace, "error_y": {**_bars_of(series), "color": colour}}]
    return [*(_band(series, colour, index) if has_ends else []), trace]


def _band(series: SeriesRecord, colour: str, index: int) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "x": list(series.x),
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": f"band-{index}",
        "line": {"color": colour, "width": 0.8},
        "opacity": 0.45,
    }
    low, high = [], []
    for end in _ends(series):
        low.append(None if end is None else round(end[0], 5))
        high.append(None if end is None else round(end[1], 5))
    return [{**shared, "y": low}, {**shared, "y": high}]


def _bars(series: SeriesRecord, index: int) -> dict[str, Any]:
    colour, ends = _colour(series, index), _ends(series)
    faint = series.who == "null"
    words = "±2 sd" if faint else "95%"
    told = f" ({words} %{{customdata}})" if any(ends) else ""
    trace: dict[str, Any] = {
        "type": "bar",
        "name": series.name,
        "x": list(series.x),
        "y": _rounded(series.y),
        "customdata": [interval(e, 3) for e in ends],
        "hovertemplate": f"%{{x}}: %{{y:.3f}}{told}<extra>{series.name}</extra>",
        "marker": {
            "color": "var(--paper)" if faint else colour,
            "line": {"color": colour, "width": 1.5},
            "pattern": {"shape": "/" if faint else "", "fgcolor": colour, "size": 5},
        },
    }
    return {**trace, "error_y": {**_bars_of(series), "color": "var(--ink)"}} if any(ends) else trace


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(value, 5) for value in values]


def _describe(chart: ChartRecord) -> str:
    told: list[str] = []
    for series in chart.series:
        known = [(x, y) for x, y in zip(series.x, series.y, strict=True) if y is not None]
        if known:
            first, last = known[0], known[-1]
            told.append(f"{series.name} {fixed(first[1], 3)} at {first[0]}, {fixed(last[1], 3)} at {last[0]}")
    return f"{chart.title}. {chart.y_title} over {chart.x_title}. {'; '.join(told)}."
