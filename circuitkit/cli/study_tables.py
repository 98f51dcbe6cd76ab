"""Findings of a study for a terminal, on standard error."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from circuitkit.cli.console import notice, stderr
from circuitkit.core.utf8 import printable
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_table import Cell, Column, StudyTable

MOST_ROWS = 12
_EDGE = 3  # characters that a column takes beside its cells


def study_table(study: Study) -> None:
    """Print what was found, the first table and everything that must be seen beside it."""
    stderr().print(Text(printable(study.title), style="bold"))
    for sentence in study.findings:
        notice(sentence)
    if study.tables:
        stderr().print(_table(next(iter(study.tables.values()))))
    for warning in study.notices:
        notice(f"note: {warning}")


def findings_tables(title: str, findings: Sequence[str], tables: Sequence[StudyTable]) -> None:
    """Print sentences and several tables, each with all of its rows."""
    stderr().print(Text(printable(title), style="bold"))
    for sentence in findings:
        notice(sentence)
    for table in tables:
        stderr().print(_table(table, most=len(table.rows)))


def _table(table: StudyTable, most: int = MOST_ROWS) -> Table:
    """As many rows as fit a screen, as many columns as fit its width; an interval stands with its value."""
    rows = table.rows[:most]
    used = [c for c in table.columns if any(row[c.name] is not None for row in table.rows)]
    columns = _with_intervals(used, rows)
    drawn, room = Table(title=Text(printable(table.title))), stderr().width - 1
    fitting: list[list[str]] = []
    for title, cells in columns:
        width = max(map(len, (*title.split(), *cells)))
        room -= width + _EDGE
        if fitting and room < 0:
            break
        drawn.add_column(title, width=width)
        fitting.append(cells)
    for cells in zip(*fitting, strict=True):
        drawn.add_row(*(Text(printable(cell), no_wrap=True) for cell in cells))
    left = [f"{len(table.rows) - most} more rows"] if len(table.rows) > most else []
    left += [f"{len(columns) - len(fitting)} more columns"] if len(columns) > len(fitting) else []
    if left:
        drawn.caption = f"{' and '.join(left)} in the report"
    return drawn


def _with_intervals(columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]]) -> list[tuple[str, list[str]]]:
    """Title and cells of each column; intervals are put behind the values before them."""
    out: list[tuple[str, list[str]]] = []
    for column in columns:
        cells = [_cell(column, row[column.name]) for row in rows]
        if column.kind == "interval" and out:
            title, values = out[-1]
            joined = [v if c == "-" else f"{v} ({c})" for v, c in zip(values, cells, strict=True)]
            out[-1] = f"{title} ({column.title})", joined
        else:
            out.append((column.title, cells))
    return out


def _cell(column: Column, value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return f"{value[0]:.{column.digits}f} to {value[1]:.{column.digits}f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{column.digits}f}" if isinstance(value, float) else str(value)
