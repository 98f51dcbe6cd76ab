"""What the reports need of `circuitkit.experiment/1`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from circuitkit.reports.records import Interval, ModelCard, Record, TaskCard

EXPERIMENT = "circuitkit.experiment/1"


class ColumnRecord(Record):
    """One column of a table."""

    name: str
    title: str
    kind: Literal["text", "number", "count", "interval", "flag"]
    unit: str | None = None
    digits: int = 3


class TableRecord(Record):
    """A table; a cell holds what its column's kind says, or nothing."""

    title: str
    note: str = ""
    columns: tuple[ColumnRecord, ...] = Field(min_length=1)
    rows: tuple[dict[str, Any], ...]


class SeriesRecord(Record):
    """Values along an axis, with intervals where there are any."""

    name: str
    x: tuple[float, ...] | tuple[str, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None
    who: Literal["teacher", "student", "null", "other"] = "other"


class ChartRecord(Record):
    """Lines over numbers, or bars over names."""

    kind: Literal["lines", "bars"]
    title: str
    x_title: str
    y_title: str
    series: tuple[SeriesRecord, ...]
    levels: tuple[tuple[str, float], ...] = ()
    note: str = ""
    log_y: bool = False


class HeatmapRecord(Record):
    """A matrix with named rows and columns."""

    kind: Literal["heatmap"]
    title: str
    row_title: str
    column_title: str
    rows: tuple[str, ...] = Field(min_length=1)
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    value_title: str
    limits: Interval
    marks: tuple[tuple[int, int], ...] = ()
    note: str = ""


class PointsRecord(Record):
    """Points of one colour."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


class ScatterRecord(Record):
    """Points in a plane, both axes on one scale."""

    kind: Literal["scatter"]
    title: str
    x_title: str
    y_title: str
    groups: tuple[PointsRecord, ...] = Field(min_length=1)
    note: str = ""


FigureRecord = ChartRecord | HeatmapRecord | ScatterRecord
AnyFigure = Annotated[FigureRecord, Field(discriminator="kind")]


class StudyRecord(Record):
    """`circuitkit.experiment/1`."""

    name: str
    title: str
    source: str
    models: dict[str, ModelCard] = Field(min_length=1)
    tasks: tuple[TaskCard, ...] = Field(min_length=1)
    settings: dict[str, Any]
    findings: tuple[str, ...]
    caution: str
    tables: dict[str, TableRecord]
    figures: dict[str, AnyFigure]
    warnings: tuple[str, ...] = ()
