"""Matrices of a study, as plotly figures in plain data."""

from typing import Any

from circuitkit.reports.maps import RAMP_STEPS, Figure
from circuitkit.reports.numerals import fixed
from circuitkit.reports.study_record import HeatmapRecord

_WRITTEN_UP_TO = 150  # cells whose numbers are written out
_TICKS = 24
_NEGATIVE, _MIDDLE = "var(--student)", "var(--paper)"


def heatmap_figure(id_: str, record: HeatmapRecord) -> Figure:
    """A matrix with the numbers in its cells where they fit; marked cells have a star."""
    n_rows, n_columns = len(record.rows), len(record.columns)
    height = max(15, min(40, 520 // n_rows)) * n_rows
    longest = max(map(len, record.rows))
    foot = 34 + min(130, 7 * max(map(len, record.columns), default=1))
    rows, columns = list(range(n_rows)), list(range(n_columns))
    return Figure(
        id=id_,
        label=_describe(record),
        data=[
            {
                "type": "heatmap",
                "x": columns,
                "y": rows,
                "z": [[None if v is None else round(v, 4) for v in row] for row in record.values],
                "text": _texts(record),
                "texttemplate": "%{text}",
                "customdata": [[f"{row} / {column}" for column in record.columns] for row in record.rows],
                "hovertemplate": f"%{{customdata}}<br>{record.value_title} %{{z:.3f}}<extra></extra>",
                "coloraxis": "coloraxis",
                "xgap": 1,
                "ygap": 1,
            }
        ],
        layout={
            "height": height + foot + 16,
            "margin": {"l": 30 + min(170, 7 * longest), "r": 8, "t": 8, "b": foot},
            "xaxis": _axis(record.column_title, record.columns),
            "yaxis": {**_axis(record.row_title, record.rows), "range": [n_rows - 0.5, -0.5]},
            "coloraxis": {
                "cmin": record.limits[0],
                "cmax": record.limits[1],
                "colorscale": _scale(record.limits[0] < 0),
                "colorbar": {"thickness": 11, "len": 0.9, "outlinewidth": 0, "title": {"text": ""}},
            },
        },
    )


def _axis(title: str, names: tuple[str, ...]) -> dict[str, Any]:
    every = -(-len(names) // _TICKS) if len(names) > 3 * _TICKS else 1
    shown = list(range(0, len(names), every))
    return {
        "title": {"text": title, "standoff": 8},
        "tickvals": shown,
        "ticktext": [names[i] for i in shown],
        "range": [-0.5, len(names) - 0.5],
        "fixedrange": True,
        "showgrid": False,
        "ticks": "",
    }


def _texts(record: HeatmapRecord) -> list[list[str]]:
    write = len(record.rows) * len(record.columns) <= _WRITTEN_UP_TO
    marks = set(record.marks)
    return [
        [
            ("" if v is None or not write else fixed(v)) + (" \u2605" if (i, j) in marks else "")
            for j, v in enumerate(row)
        ]
        for i, row in enumerate(record.values)
    ]


def _scale(signed: bool) -> list[list[Any]]:
    ramp = [f"var(--q{i})" for i in range(RAMP_STEPS)]
    if not signed:
        return [[i / (RAMP_STEPS - 1), colour] for i, colour in enumerate(ramp)]
    upper = [[0.5 + 0.5 * i / (RAMP_STEPS - 1), colour] for i, colour in enumerate(ramp)]
    return [[0.0, _NEGATIVE], [0.4999, _MIDDLE], *upper]


def _describe(record: HeatmapRecord) -> str:
    cells = [
        (v, f"{row} / {column}")
        for row, values in zip(record.rows, record.values, strict=True)
        for column, v in zip(record.columns, values, strict=True)
        if v is not None
    ]
    if not cells:
        return f"{record.title}. No values."
    largest = ", ".join(f"{name} {fixed(v)}" for v, name in sorted(cells, key=lambda c: -c[0])[:3])
    return f"{record.title}. {record.value_title}, {record.row_title} by {record.column_title}. Largest: {largest}."
