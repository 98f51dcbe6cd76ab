"""A circuit of nodes as the whole grid of components, the kept ones marked."""

from collections.abc import Mapping

from circuitkit.core.component import Component
from circuitkit.reports.circuit_layers import WIDE
from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.graph_parts import CircuitGraph, GraphLabel, GraphNode, Shades, in_words, ink, shades
from circuitkit.reports.numerals import count

_LEFT, _TOP, _FOOT = 62.0, 8.0, 24.0
_DOT = 5.0
_LETTER = 6.6  # width of one character in a box


def node_grid(
    record: CircuitRecord, *, id_: str, room: float = WIDE, badges: Mapping[str, int] | None = None
) -> CircuitGraph:
    """Lay out a circuit of nodes: layer 0 at the bottom, heads across, the MLPs in a column of their own.

    Args:
        record: The circuit.
        id_: Identity of the drawing.
        room: Its largest width.
        badges: Numbers of matches by component.
    """
    n_layers, n_heads = record.model.n_layers, record.model.n_heads
    pitch = min(72.0, (room - _LEFT - 8) / (n_heads + 1.4))
    box, height = pitch - min(8.0, 0.16 * pitch), min(24.0, max(9.0, 0.72 * pitch))
    row = height + min(10.0, 0.45 * height)
    shade, kept = shades(record), frozenset(record.nodes)
    nodes: list[GraphNode] = []
    for layer in range(n_layers):
        y = round(_TOP + row * (n_layers - layer - 0.5), 1)
        for head in (*range(n_heads), None):
            x = round(_LEFT + pitch * ((n_heads + 0.9) if head is None else head + 0.5), 1)
            part = Component(layer, head)
            if str(part) in kept:
                badge = (badges or {}).get(str(part))
                nodes.append(_box(part, at=(x, y), size=(box, height), record=record, shade=shade, badge=badge))
            else:
                nodes.append(_dot(part, at=(x, y)))
    bottom = _TOP + row * n_layers
    said = (
        f"Marked are the {count(len(record.nodes))} kept of {count(n_layers * (n_heads + 1))} components; "
        "a dot is a component that was left out. This method keeps or removes whole components, so there are no edges."
    )
    return CircuitGraph(
        id=id_,
        nodes=tuple(nodes),
        edges=(),
        rows=tuple(
            GraphLabel(text=f"layer {layer}", x=0.0, y=round(_TOP + row * (n_layers - layer - 0.5), 1))
            for layer in range(n_layers)
            if (n_layers - 1 - layer) % _every(row) == 0
        ),
        columns=_columns(n_heads, pitch, bottom + 15),
        width=round(_LEFT + pitch * (n_heads + 1.4) + 8, 1),
        height=round(bottom + _FOOT, 1),
        label=f"Grid of all components, layer by head, layer 0 at the bottom. {said}",
        said=said,
        measured=bool(shade.values),
        top=shade.top,
        shade=shade.name,
    )


def _box(
    part: Component,
    *,
    at: tuple[float, float],
    size: tuple[float, float],
    record: CircuitRecord,
    shade: Shades,
    badge: int | None,
) -> GraphNode:
    step = shade.step(str(part))
    return GraphNode(
        name=str(part),
        text=_short(part, size[0]),
        x=at[0],
        y=at[1],
        width=round(size[0], 1),
        height=round(size[1], 1),
        state="kept",
        step=step,
        ink=ink(step),
        negative=shade.values.get(str(part), 0.0) < 0,
        title=in_words(str(part), record),
        badge=badge,
    )


def _dot(part: Component, *, at: tuple[float, float]) -> GraphNode:
    return GraphNode(
        name=str(part),
        text="",
        x=at[0],
        y=at[1],
        width=_DOT,
        height=_DOT,
        state="out",
        step=None,
        ink=0,
        negative=False,
        title=f"{part}: not in the circuit",
        badge=None,
    )


def _short(part: Component, width: float) -> str:
    """The whole name, or the head's number, or nothing, as far as the box is wide enough."""
    choices = (str(part), "M" if part.head is None else str(part.head))
    return next((text for text in choices if len(text) * _LETTER + 4 <= width), "")


def _every(row: float) -> int:
    return 1 if row >= 14 else 2


def _columns(n_heads: int, pitch: float, y: float) -> tuple[GraphLabel, ...]:
    every = 1 if pitch >= 18 else 2 if pitch >= 10 else 4
    heads = [
        GraphLabel(text=str(head), x=round(_LEFT + pitch * (head + 0.5), 1), y=round(y, 1))
        for head in range(0, n_heads, every)
        if head + 1 < n_heads or every == 1
    ]
    return (*heads, GraphLabel(text="MLP", x=round(_LEFT + pitch * (n_heads + 0.9), 1), y=round(y, 1)))
