"""Tables of a study: named columns with units, rows of plain values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

Kind = Literal["text", "number", "count", "interval", "flag"]
Cell = str | float | int | bool | tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes:
        name: Key of its cells in the rows.
        title: What stands above it.
        kind: `text`, `number`, `count` (whole), `interval` (a pair of numbers: 95% unless the title says otherwise)
            or `flag` (yes or no).
        unit: Unit of its numbers; None for text and for shares and scores without one.
        digits: Digits behind the point that a report shows.
    """

    name: str
    title: str
    kind: Kind = "number"
    unit: str | None = None
    digits: int = 3

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"name": self.name, "title": self.title, "kind": self.kind, "unit": self.unit, "digits": self.digits}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTable:
    """A named table.

    Attributes:
        title: What it shows.
        columns: Its columns, in order.
        rows: One mapping from column name to value a row; None where there is no value.
        note: What a reader must know to read it.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Cell], ...]
    note: str = ""

    def frame(self) -> pd.DataFrame:
        """The table as pandas; columns keep their names, intervals are pairs."""
        return pd.DataFrame([dict(row) for row in self.rows], columns=[column.name for column in self.columns])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; what is no finite number becomes null."""
        names = [column.name for column in self.columns]
        return {
            "title": self.title,
            "note": self.note,
            "columns": [column.to_dict() for column in self.columns],
            "rows": [{name: _plain(row[name]) for name in names} for row in self.rows],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "StudyTable":
        """Read back what `to_dict` wrote."""
        return cls(
            title=record["title"],
            note=record["note"],
            columns=tuple(Column(**column) for column in record["columns"]),
            rows=tuple({name: _cell(value) for name, value in row.items()} for row in record["rows"]),
        )


def _plain(value: Cell) -> Any:  # noqa: ANN401 - what JSON can hold
    if isinstance(value, tuple):
        return None if None in map(finite, value) else list(value)
    return finite(value) if isinstance(value, float) else value


def number(value: Cell) -> float:
    """A cell that is a number, as one; not a number where it is none."""
    return float(value) if isinstance(value, int | float) else math.nan


def finite(value: float) -> float | None:
    """The number, or None where it is none that JSON can hold."""
    return value if math.isfinite(value) else None


def _cell(value: Any) -> Cell:  # noqa: ANN401 - what JSON holds
    return (value[0], value[1]) if isinstance(value, Sequence) and not isinstance(value, str) else value
