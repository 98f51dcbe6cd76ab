"""A circuit of edges as a layered graph: which edges are drawn, and along which curve."""

from collections import Counter
from collections.abc import Mapping, Sequence

from circuitkit.core.component import Component
from circuitkit.reports.circuit_layers import BOX, BOX_HEIGHT, NARROW, WIDE, Placed, place
from circuitkit.reports.circuit_record import CircuitRecord, KeptEdge
from circuitkit.reports.graph_parts import CircuitGraph, GraphEdge, GraphNode, Shades, in_words, ink, shades
from circuitkit.reports.numerals import count, fixed

MOST_EDGES = {WIDE: 400, NARROW: 250}
_PORTS = {"q": -15.0, "k": 0.0, "v": 15.0}
_ENDS = ("embed", "logits")


def edge_graph(
    record: CircuitRecord, *, id_: str, room: float = WIDE, badges: Mapping[str, int] | None = None
) -> CircuitGraph:
    """Lay out a circuit of edges.

    Args:
        record: A circuit whose edges are known.
        id_: Identity of the drawing.
        room: Its largest width, `WIDE` or `NARROW`.
        badges: Numbers of matches by component.
    """
    edges = record.edges or ()
    ranked = sorted(edges, key=lambda e: (-abs(e.effect or 0.0), e.sender, e.receiver))
    drawn = ranked[: MOST_EDGES[room]]
    touched = {name for edge in drawn for name in (edge.sender, edge.reader)} - set(_ENDS)
    everyone = {*record.nodes, *({e.sender for e in edges} | {e.reader for e in edges}) - set(_ENDS)}
    names = everyone if len(drawn) == len(edges) else touched
    placed = place((Component.parse(name) for name in names), n_heads=record.model.n_heads, room=room)
    shade = shades(record)
    reads, read_by = Counter(edge.reader for edge in edges), Counter(edge.sender for edge in edges)
    nodes = tuple(
        _node(name, at, record, shade, joined=(reads[name], read_by[name]), badge=(badges or {}).get(name))
        for name, at in sorted(placed.at.items(), key=lambda item: (-item[1][1], item[1][0]))
    )
    said = _said(drawn, record, n_nodes=len(names), n_all=len(everyone))
    return CircuitGraph(
        id=id_,
        nodes=nodes,
        edges=_curves(drawn, {node.name: node for node in nodes}, placed, record.edge_unit),
        rows=placed.rows,
        columns=(),
        width=placed.width,
        height=placed.height,
        label=f"Layered graph of the circuit, embedding at the bottom, logits at the top. {said} "
        f"{_strongest(drawn, record.edge_unit)}",
        said=said,
        measured=bool(shade.values),
        top=shade.top,
        shade=shade.name,
    )


def _node(
    name: str,
    at: tuple[float, float],
    record: CircuitRecord,
    shade: Shades,
    *,
    joined: tuple[int, int],
    badge: int | None,
) -> GraphNode:
    end = name in _ENDS
    step = None if end else shade.step(name)
    scale = 1.0 if end or not shade.values else 0.88 + 0.22 * shade.share(name)
    title = name if end else in_words(name, record)
    if name != "embed":
        title += f"; kept edges in: {count(joined[0])}"
    if name != "logits":
        title += f"; kept edges out: {count(joined[1])}"
    return GraphNode(
        name=name,
        text=name,
        x=at[0],
        y=at[1],
        width=round(BOX * (1.15 if end else scale), 1),
        height=round(BOX_HEIGHT * scale, 1),
        state="end" if end else "kept" if name in record.nodes else "loose",
        step=step,
        ink=ink(step),
        negative=shade.values.get(name, 0.0) < 0,
        title=title,
        badge=badge,
    )


def _curves(
    drawn: Sequence[KeptEdge], nodes: Mapping[str, GraphNode], placed: Placed, unit: str
) -> tuple[GraphEdge, ...]:
    top = max((abs(edge.effect or 0.0) for edge in drawn), default=0.0) or 1.0
    curves = [
        GraphEdge(
            path=_path(nodes[edge.sender], nodes[edge.reader], edge.kind, placed),
            sender=edge.sender,
            reader=edge.reader,
            kind=edge.kind,
            width=round(0.8 + 4.7 * abs(edge.effect or 0.0) / top, 1),
            opacity=round(0.4 + 0.55 * abs(edge.effect or 0.0) / top, 2),
            negative=(edge.effect or 0.0) < 0,
            title=f"{edge.sender} \u2192 {edge.receiver}: {_effect(edge, unit)}",
        )
        for edge in drawn
    ]
    return tuple(reversed(curves))  # the strongest last, on top


def _path(sender: GraphNode, reader: GraphNode, kind: str, placed: Placed) -> str:
    """From the top of the sender to the reader's port: q enters left, k in the middle, v right.

    A layer's heads reach its MLP from the side, above the heads between.
    """
    x1, y1 = sender.x, sender.y - sender.height / 2
    if placed.rank[reader.name] == placed.rank[sender.name]:
        end = reader.x - reader.width / 2
        return f"M{x1:g} {y1:.1f}C{x1:g} {reader.y:g} {x1 + 0.4 * (end - x1):.1f} {reader.y:g} {end:.1f} {reader.y:g}"
    x2, y2 = reader.x + _PORTS.get(kind, 0.0), reader.y + reader.height / 2
    rows = placed.rank[reader.name] - placed.rank[sender.name]
    reach = min(90.0, max(12.0, 0.45 * abs(y1 - y2)))
    aside = _aside(x1, x2, rows, placed)
    c1, c2 = x1 + aside, x2 + aside
    return f"M{x1:g} {y1:.1f}C{c1:.1f} {y1 - reach:.1f} {c2:.1f} {y2 + reach:.1f} {x2:g} {y2:.1f}"


def _aside(x1: float, x2: float, rows: int, placed: Placed) -> float:
    """How far a curve bends sideways: only where it would run straight through the boxes between its ends."""
    if rows < 2 or abs(x1 - x2) > BOX:
        return 0.0
    free = placed.width - max(x1, x2) - 4
    if free < placed.bow + BOX:  # beside the MLPs
        return min(free, 18.0 + 9.0 * rows)
    outward = 1.0 if x1 >= placed.at["embed"][0] else -1.0
    return outward * min(38.0 + 4.0 * rows, 100.0, min(x1, x2) - 4)


def _effect(edge: KeptEdge, unit: str) -> str:
    return "effect not measured" if edge.effect is None else f"effect {fixed(edge.effect, 3)} {unit}"


def _said(drawn: Sequence[KeptEdge], record: CircuitRecord, *, n_nodes: int, n_all: int) -> str:
    total = len(record.edges or ())
    if len(drawn) < total:
        return (
            f"Drawn are the {count(len(drawn))} strongest of {count(total)} kept edges and the {count(n_nodes)} of "
            f"{count(n_all)} components at their ends."
        )
    if not total:
        return "No edge is kept, so none is drawn."
    loose = n_all - len(record.nodes)
    also = f", and {count(loose)} that only begin or only end kept edges" if loose else ""
    return f"Drawn are all {count(total)} kept edges and all {count(len(record.nodes))} kept components{also}."


def _strongest(drawn: Sequence[KeptEdge], unit: str) -> str:
    parts = [f"{e.sender} to {e.receiver}, {_effect(e, unit)}" for e in drawn[:5]]
    return f"Strongest: {'; '.join(parts)}." if parts else ""
