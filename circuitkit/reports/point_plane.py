"""Points in a plane as a drawing without scripts, for notebooks."""

from collections.abc import Sequence
from dataclasses import dataclass

_SIZE, _EDGE = 250, 8
_COLOURS = ("#225ea8", "#b5541c", "#2a7a3f", "#7a4a9e", "#8a5a00", "#4b4e55", "#2f95bd", "#9b9b9b")
Group = tuple[str, Sequence[float], Sequence[float]]
"""Name, horizontal and vertical places of points of one colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanePoint:
    """A point: where it is drawn, in pixels, its colour, and what it says when pointed at."""

    x: float
    y: float
    fill: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PointPlane:
    """A plane of points.

    Attributes:
        name: What it shows.
        x_title: What goes across.
        y_title: What goes up.
        size: Width and height of the plane, in pixels.
        points: The points.
        key: Names and colours of the groups.
        note: How to read it.
    """

    name: str
    x_title: str
    y_title: str
    size: int
    points: tuple[PlanePoint, ...]
    key: tuple[tuple[str, str], ...]
    note: str = ""


def point_plane(*, name: str, x_title: str, y_title: str, groups: Sequence[Group], note: str = "") -> PointPlane:
    """Points by group, one unit as long across as up, the middle of all of them in the middle.

    Args:
        name: What it shows.
        x_title: What goes across.
        y_title: What goes up.
        groups: The points.
        note: How to read it.
    """
    xs, ys = [x for _, own, _ in groups for x in own], [y for _, _, own in groups for y in own]
    centre = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2) if xs else (0.0, 0.0)
    span = max(max(xs) - min(xs), max(ys) - min(ys)) if xs else 0.0
    scale = (_SIZE - 2 * _EDGE) / (span or 1.0)
    colours = [_COLOURS[i % len(_COLOURS)] for i in range(len(groups))]
    return PointPlane(
        name=name,
        x_title=x_title,
        y_title=y_title,
        size=_SIZE,
        points=tuple(
            PlanePoint(
                x=round(_SIZE / 2 + scale * (x - centre[0]), 1),
                y=round(_SIZE / 2 - scale * (y - centre[1]), 1),
                fill=colour,
                title=f"{group}: {x:.3f}, {y:.3f}",
            )
            for (group, across, up), colour in zip(groups, colours, strict=True)
            for x, y in zip(across, up, strict=True)
        ),
        key=tuple((group, colour) for (group, _, _), colour in zip(groups, colours, strict=True)),
        note=note,
    )
