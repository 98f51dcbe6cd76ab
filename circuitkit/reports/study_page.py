"""From a checked study to what its page's template needs."""

from collections.abc import Mapping
from typing import Any

from circuitkit.core.errors import ResultError
from circuitkit.reports.maps import Figure
from circuitkit.reports.numerals import count, fixed, interval
from circuitkit.reports.pages import Context, provenance
from circuitkit.reports.records import read_record
from circuitkit.reports.study_charts import chart_figure
from circuitkit.reports.study_heatmap import heatmap_figure
from circuitkit.reports.study_record import (
    ChartRecord,
    ColumnRecord,
    FigureRecord,
    HeatmapRecord,
    ScatterRecord,
    SeriesRecord,
    StudyRecord,
    TableRecord,
)
from circuitkit.reports.study_scatter import scatter_figure

_OPEN_UP_TO = 40  # rows of a table that is shown without being asked for
_MOST_ROWS = 1000


def study_page(result: Mapping[str, Any]) -> Context:
    """Context of `study.html.j2`.

    Raises:
        ResultError: The result lacks something that the report shows.
    """
    record = read_record(StudyRecord, result)
    drawn = {name: _figure(f"figure-{i}", figure) for i, (name, figure) in enumerate(record.figures.items())}
    names = " and ".join(model.name for model in record.models.values())
    tasks = ", ".join(task.name for task in record.tasks)
    return {
        "title": f"{record.title} {names} on {tasks}",
        "kicker": f"Experiment: {record.name}",
        "record": record,
        "subject": f"{names} on {tasks}, {', '.join(count(task.n_prompts) for task in record.tasks)} prompts",
        "blocks": _blocks(record, drawn),
        "tables": [_table(name, table) for name, table in record.tables.items()],
        "figures": [figure.plain() for figure in drawn.values()],
        "attention": [],
        "models": tuple(record.models.values()),
        "provenance": provenance(result),
    }


def _figure(id_: str, figure: FigureRecord) -> Figure:
    check_figure(figure)
    if isinstance(figure, HeatmapRecord):
        return heatmap_figure(id_, figure)
    return scatter_figure(id_, figure) if isinstance(figure, ScatterRecord) else chart_figure(id_, figure)


def check_figure(figure: FigureRecord) -> None:
    """Check that a figure has as many values as places, and none that its axis cannot show.

    Raises:
        ResultError: It has not.
    """
    if isinstance(figure, HeatmapRecord):
        _check_shape(figure)
        return
    parts = figure.groups if isinstance(figure, ScatterRecord) else figure.series
    for part in parts:
        ends = (part.low, part.high) if isinstance(part, SeriesRecord) else ()
        if any(values is not None and len(values) != len(part.x) for values in (part.y, *ends)):
            raise ResultError(
                f"Result is broken at the figure {figure.title!r}: its values are not as many as its places."
            )
    if isinstance(figure, ChartRecord) and figure.log_y:
        known = [v for part in figure.series for v in (*part.y, *(part.low or ())) if v is not None]
        if min(known, default=1.0) <= 0:
            raise ResultError(
                f"Result is broken at the figure {figure.title!r}: its axis is logarithmic, its values not."
            )


def _check_shape(figure: HeatmapRecord) -> None:
    got = (len(figure.values), *{len(row) for row in figure.values})
    if got != (len(figure.rows), len(figure.columns)):
        raise ResultError(
            f"Result is broken at the figure {figure.title!r}: its values do not fit its rows and columns."
        )


def _blocks(record: StudyRecord, drawn: Mapping[str, Figure]) -> list[Context]:
    """Figures in rows: a chart alone; matrices and planes two by two, such as teacher and student."""
    blocks: list[Context] = []
    for name, figure in record.figures.items():
        part = {"title": figure.title, "note": figure.note, "figure": drawn[name]}
        wide = isinstance(figure, ChartRecord)
        if blocks and not wide and not blocks[-1]["wide"] and len(blocks[-1]["parts"]) < 2:
            blocks[-1]["parts"].append(part)
        else:
            blocks.append({"wide": wide, "parts": [part]})
    return blocks


def _table(name: str, table: TableRecord) -> Context:
    used, rows = table_rows(table, most=_MOST_ROWS)
    return {
        "id": name,
        "title": table.title,
        "note": table.note,
        "columns": used,
        "rows": rows,
        "left_out": len(table.rows) - len(rows),
        "open": len(table.rows) <= _OPEN_UP_TO,
    }


def table_rows(table: TableRecord, *, most: int) -> tuple[list[ColumnRecord], list[list[str]]]:
    """The columns of a table that hold anything, and its first rows in words.

    Args:
        table: The table.
        most: Rows at most.

    Raises:
        ResultError: A cell holds something else than its column says.
    """
    shown = table.rows[:most]
    used = [c for c in table.columns if any(row.get(c.name) is not None for row in shown)] or list(table.columns)
    return used, [[_cell(column, row.get(column.name)) for column in used] for row in shown]


def _cell(column: ColumnRecord, value: Any) -> str:  # noqa: ANN401 - what JSON can hold
    """The value in words.

    Raises:
        ResultError: It is not what the column holds.
    """
    if value is None:
        return "\u2013"
    try:
        match column.kind:
            case "text":
                return str(value)
            case "flag":
                return "yes" if value else "no"
            case "count":
                return count(int(value))
            case "interval":
                return interval((float(value[0]), float(value[1])), column.digits)
            case _:
                return fixed(float(value), column.digits)
    except (TypeError, ValueError, IndexError) as error:
        raise ResultError(
            f"Result is broken at column {column.name!r}: {str(value)[:40]!r} is no {column.kind}. Make the run again."
        ) from error
