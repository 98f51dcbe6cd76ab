"""Figures of a study as plain numbers: what is drawn, not how."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from circuitkit.experiments.study_table import finite

Who = Literal["teacher", "student", "null", "other"]
"""Which colour: the teacher's, the student's, that of what stands beside them as a control, or another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Values along an axis, with intervals where there are any.

    Attributes:
        name: What they are of.
        x: Places on the horizontal axis: numbers for lines, names for bars.
        y: Values; None where there is none.
        low: Lower ends of their intervals; None for no intervals.
        high: Upper ends.
        who: Colour.
    """

    name: str
    x: tuple[float, ...] | tuple[str, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None
    who: Who = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over numbers, or bars over names.

    Attributes:
        kind: `lines` or `bars`.
        title: What it shows.
        x_title: What is on the horizontal axis, with its unit.
        y_title: What is on the vertical axis, with its unit.
        series: What is drawn.
        levels: Named values that are drawn as lines across.
        note: What a reader must know to read it.
        log_y: Whether the vertical axis is logarithmic; values must then be above 0.
    """

    kind: Literal["lines", "bars"]
    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    levels: tuple[tuple[str, float], ...] = ()
    note: str = ""
    log_y: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap:
    """A matrix with named rows and columns.

    Attributes:
        title: What it shows.
        row_title: What the rows are.
        column_title: What the columns are.
        rows: Their names.
        columns: Their names.
        values: One tuple a row; None where there is no value.
        value_title: What the values are, with their unit.
        limits: Values at the two ends of the colour scale.
        marks: Cells to mark (row, column).
        note: What a reader must know to read it.
    """

    title: str
    row_title: str
    column_title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    value_title: str
    limits: tuple[float, float]
    marks: tuple[tuple[int, int], ...] = ()
    note: str = ""
    kind: Literal["heatmap"] = "heatmap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Points of one colour.

    Attributes:
        name: What they have in common.
        x: Places on the horizontal axis.
        y: Places on the vertical axis.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Points in a plane, both axes in the same unit and on one scale.

    Attributes:
        title: What it shows.
        x_title: What is on the horizontal axis, with its unit.
        y_title: What is on the vertical axis, with its unit.
        groups: The points by colour; more than eight are not told apart.
        note: What a reader must know to read it.
    """

    title: str
    x_title: str
    y_title: str
    groups: tuple[Points, ...]
    note: str = ""
    kind: Literal["scatter"] = "scatter"


StudyFigure = Chart | Heatmap | Scatter


def figure_dict(figure: StudyFigure) -> dict[str, Any]:
    """JSON-able form; what is no finite number becomes null."""
    return cast(dict[str, Any], _plain(asdict(figure)))


def read_figure(record: Mapping[str, Any]) -> StudyFigure:
    """Read back what `figure_dict` wrote."""
    if record["kind"] == "heatmap":
        return Heatmap(**{name: _frozen(value) for name, value in record.items()})
    if record["kind"] == "scatter":
        plain: dict[str, Any] = {name: _frozen(value) for name, value in record.items() if name != "groups"}
        groups = tuple(Points(**{name: _frozen(value) for name, value in one.items()}) for one in record["groups"])
        return Scatter(**plain, groups=groups)
    fields: dict[str, Any] = {name: _frozen(value) for name, value in record.items() if name != "series"}
    series = tuple(Series(**{name: _frozen(value) for name, value in one.items()}) for one in record["series"])
    return Chart(**fields, series=series)


def _plain(value: Any) -> Any:  # noqa: ANN401 - nested plain values
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _frozen(value: Any) -> Any:  # noqa: ANN401 - nested plain values
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
