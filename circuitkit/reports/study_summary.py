"""A study as a small piece of HTML without scripts, for notebooks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from circuitkit.reports.notebook_view import NotebookTable, notebook_view
from circuitkit.reports.numerals import count, fixed, interval
from circuitkit.reports.point_plane import PointPlane, point_plane
from circuitkit.reports.records import read_record
from circuitkit.reports.study_page import check_figure, table_rows
from circuitkit.reports.study_record import (
    ChartRecord,
    HeatmapRecord,
    ScatterRecord,
    SeriesRecord,
    StudyRecord,
    TableRecord,
)
from circuitkit.reports.value_grid import ValueCell, ValueGrid, number_cell
from circuitkit.reports.verdict import Verdict

_SHOWN = 10


def study_summary(result: Mapping[str, Any]) -> str:
    """Title and findings, every figure as a table of shaded values, and the beginning of every table.

    Args:
        result: What `result.json` of `circuitkit.experiment/1` holds.

    Raises:
        ResultError: The result lacks something that is shown, or it does not fit together.
    """
    record = read_record(StudyRecord, result)
    return notebook_view(
        verdict=Verdict(headline=record.title, support=record.findings, caution=record.caution),
        warnings=record.warnings,
        grids=[_grid(figure) for figure in record.figures.values() if not isinstance(figure, ScatterRecord)],
        planes=[_plane(figure) for figure in record.figures.values() if isinstance(figure, ScatterRecord)],
        tables=[_table(table) for table in record.tables.values()],
    )


def _grid(figure: ChartRecord | HeatmapRecord) -> ValueGrid:
    check_figure(figure)
    return _matrix(figure) if isinstance(figure, HeatmapRecord) else _chart(figure)


def _plane(figure: ScatterRecord) -> PointPlane:
    check_figure(figure)
    return point_plane(
        name=figure.title,
        x_title=figure.x_title,
        y_title=figure.y_title,
        groups=[(group.name, group.x, group.y) for group in figure.groups],
        note=figure.note,
    )


def _matrix(figure: HeatmapRecord) -> ValueGrid:
    top, marks = max(map(abs, figure.limits)) or 1.0, frozenset(figure.marks)
    return ValueGrid(
        name=f"{figure.title}: {figure.value_title}",
        corner=f"{figure.row_title} / {figure.column_title}",
        columns=figure.columns,
        rows=tuple(
            (
                row,
                tuple(
                    _starred(_cell(values[j], top, f"{row} / {column}", len(figure.columns)), (i, j) in marks)
                    for j, column in enumerate(figure.columns)
                ),
            )
            for i, (row, values) in enumerate(zip(figure.rows, figure.values, strict=True))
        ),
        note=figure.note,
    )


def _starred(cell: ValueCell, marked: bool) -> ValueCell:
    return replace(cell, text=f"{cell.text} \u2605".strip()) if marked else cell


def _chart(figure: ChartRecord) -> ValueGrid:
    """Series down, places across; the colours of all series run to the same value.

    The figure's own note is left out: it speaks of lines and bars.
    """
    places = tuple(dict.fromkeys(x for series in figure.series for x in series.x))
    top = max((abs(y) for series in figure.series for y in series.y if y is not None), default=0.0) or 1.0
    notes = [f"{name}: {fixed(value, 3)}." for name, value in figure.levels]
    if any(series.low is not None for series in figure.series):
        notes.append("Intervals show when a cell is pointed at.")
    return ValueGrid(
        name=f"{figure.title}: {figure.y_title}",
        corner=figure.x_title,
        columns=tuple(x if isinstance(x, str) else f"{x:g}" for x in places),
        rows=tuple((series.name, _series(series, places, top)) for series in figure.series),
        note=" ".join(notes),
    )


def _series(series: SeriesRecord, places: tuple[float | str, ...], top: float) -> tuple[ValueCell, ...]:
    at: dict[float | str, int] = {x: i for i, x in enumerate(series.x)}
    cells: list[ValueCell] = []
    for place in places:
        i = at.get(place)
        value = None if i is None else series.y[i]
        low = None if i is None or series.low is None else series.low[i]
        high = None if i is None or series.high is None else series.high[i]
        title = f"{series.name} at {place}"
        if low is not None and high is not None:
            title += f" ({interval((low, high), 3)})"
        cells.append(_cell(value, top, title, len(places)))
    return tuple(cells)


def _cell(value: float | None, top: float, title: str, n_columns: int) -> ValueCell:
    if value is None:
        return number_cell(None, 0.0, title=f"{title}: none", n_columns=n_columns)
    return number_cell(value, value / top, title=f"{title}: {fixed(value, 3)}", n_columns=n_columns)


def _table(table: TableRecord) -> NotebookTable:
    columns, rows = table_rows(table, most=_SHOWN)
    left = len(table.rows) - len(rows)
    return NotebookTable(
        caption=table.title + (f" (the first {len(rows)} of {count(len(table.rows))} rows)" if left else ""),
        columns=tuple(c.title + (f", {c.unit}" if c.unit and c.kind != "interval" else "") for c in columns),
        rows=rows,
    )
