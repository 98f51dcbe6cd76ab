"""Where the components of a layered graph go: layers from the bottom up, a layer's heads in a row, its MLP beside."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from circuitkit.core.component import Component
from circuitkit.reports.graph_parts import GraphLabel

WIDE, NARROW = 1084.0, 524.0
BOX, BOX_HEIGHT = 58.0, 22.0  # of an average box; the largest is a tenth larger
_LARGEST = 1.1
_LEFT, _MARGIN = 52.0, 12.0
_SUBROW, _RAISE = 32.0, 26.0
_PITCH = 108.0
_SLOT = BOX * _LARGEST + 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Middle of every box, and the size of the drawing.

    Attributes:
        at: Middle of each component by name, `embed` and `logits` included.
        rank: Row of each from the bottom, the embedding's is 0.
        rows: Names of the layers.
        width: Of the drawing.
        height: Of the drawing.
        bow: Room at the right of the MLPs for edges that go round.
    """

    at: Mapping[str, tuple[float, float]]
    rank: Mapping[str, int]
    rows: tuple[GraphLabel, ...]
    width: float
    height: float
    bow: float


def place(parts: Iterable[Component], *, n_heads: int, room: float) -> Placed:
    """Lay out components; layers without any take no room.

    A head has the same column in every layer where all columns fit; otherwise heads stand side by side.

    Args:
        parts: The components to draw.
        n_heads: Heads of a layer of the model.
        room: The largest width that the drawing may have.
    """
    layers: dict[int, list[Component]] = {}
    for part in sorted(parts, key=lambda p: (p.layer, p.head is None, p.head or 0)):
        layers.setdefault(part.layer, []).append(part)
    bow = 92.0 if room > NARROW else 44.0
    beside = BOX * _LARGEST + bow + 14
    most = max((sum(p.head is not None for p in row) for row in layers.values()), default=0)
    fits = n_heads * _SLOT <= room - _LEFT - beside - _MARGIN
    width = min(room, max(460.0, _LEFT + (n_heads if fits else most) * _PITCH + beside + _MARGIN))
    left, right = _LEFT, width - beside - _MARGIN
    gap = min(58.0, max(32.0, 900.0 / (len(layers) + 1)))
    y = _MARGIN + BOX_HEIGHT / 2 + 2
    down: dict[str, tuple[float, float]] = {"logits": ((left + right) / 2, y)}  # from the top
    rows: list[GraphLabel] = []
    for number in sorted(layers, reverse=True):
        heads = [part for part in layers[number] if part.head is not None]
        y += gap + _SUBROW
        if len(layers[number]) > len(heads):
            down[f"MLP{number}"] = (round(width - _MARGIN - bow - BOX * _LARGEST / 2, 1), round(y - _RAISE, 1))
        shift = 0.2 if number % 2 else -0.2
        if fits:
            xs, lines = _columns([part.head or 0 for part in heads], n_heads, left, right, shift=shift), 1
        else:
            xs, lines = _spread(len(heads), left, right, shift=shift)
        for index, (part, x) in enumerate(zip(heads, xs, strict=True)):
            down[str(part)] = (x, round(y + _SUBROW * (index % lines), 1))
        rows.append(GraphLabel(text=f"layer {number}", x=0.0, y=round(y + _SUBROW * (lines - 1) / 2, 1)))
        y += _SUBROW * (lines - 1)
    y += gap + _SUBROW
    down["embed"] = ((left + right) / 2, round(y, 1))
    order = {number: index + 1 for index, number in enumerate(sorted(layers))}
    rank = {str(part): order[part.layer] for row in layers.values() for part in row}
    return Placed(
        at=down,
        rank={**rank, "embed": 0, "logits": len(layers) + 1},
        rows=tuple(rows),
        width=round(width, 1),
        height=round(y + BOX_HEIGHT / 2 + _MARGIN, 1),
        bow=bow,
    )


def _columns(heads: list[int], n_heads: int, left: float, right: float, *, shift: float) -> list[float]:
    """Middles of boxes in the columns of their heads.

    The shift, which alternates from layer to layer, keeps boxes from standing exactly above each other, where
    edges would run through them.
    """
    pitch = (right - left) / n_heads
    moved = shift * min(pitch, 2 * (pitch - BOX * _LARGEST))
    return [round(left + pitch * (head + 0.5) + moved, 1) for head in heads]


def _spread(number: int, left: float, right: float, *, shift: float) -> tuple[list[float], int]:
    """Middles of boxes side by side around the middle, shifted likewise where there is room.

    Where there is too little room the boxes stand on several lines by turns; how many is the second value.
    """
    if not number:
        return [], 1
    pitch = min(_PITCH, (right - left - _SLOT) / max(1, number - 1))
    free = max(0.0, (right - left - _SLOT - pitch * (number - 1)) / 2)
    start = (left + right) / 2 - pitch * (number - 1) / 2 + max(-free, min(free, shift * _PITCH))
    return [round(start + pitch * index, 1) for index in range(number)], math.ceil(_SLOT / pitch)
