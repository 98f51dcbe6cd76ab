"""A circuit as a small piece of HTML without scripts, for notebooks."""

from collections.abc import Mapping
from typing import Any

from circuitkit.core.component import all_components
from circuitkit.reports.cell_map import Cell, CellMap, shade
from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.circuit_verdict import circuit_verdict, circuit_warnings
from circuitkit.reports.graph_parts import in_words, shades
from circuitkit.reports.key_figures import NONE
from circuitkit.reports.notebook_view import NotebookTable, notebook_view
from circuitkit.reports.numerals import count, fixed
from circuitkit.reports.records import read_record

_SHOWN = 10
_FAINTEST = 0.25  # a kept component is always darker than one that is not


def circuit_summary(result: Mapping[str, Any]) -> str:
    """Headline, a map of the kept components, and the strongest edges or components.

    Args:
        result: What `result.json` of `circuitkit.circuit/1` holds.

    Raises:
        ResultError: The result lacks something that is shown.
    """
    record = read_record(CircuitRecord, result)
    return notebook_view(
        verdict=circuit_verdict(record),
        warnings=circuit_warnings(record),
        maps=(_map(record),),
        tables=(_strongest_nodes(record) if record.edges is None else _strongest_edges(record),),
    )


def _map(record: CircuitRecord) -> CellMap:
    model, kept, scale = record.model, frozenset(record.nodes), shades(record)
    cells = tuple(
        Cell(
            column=model.n_heads + 0.4 if part.head is None else float(part.head),
            row=part.layer,
            fill=shade(_FAINTEST + (1 - _FAINTEST) * scale.share(name)) if name in kept else shade(0.0),
            title=in_words(name, record) if name in kept else f"{name}: not in the circuit",
        )
        for part in all_components(model.n_layers, model.n_heads)
        for name in (str(part),)
    )
    label = f"Components of {model.name} that the circuit keeps, layer by head; darker: larger effect"
    return CellMap(name=model.name, label=label, rows=model.n_layers, columns=model.n_heads, cells=cells)


def _strongest_nodes(record: CircuitRecord) -> NotebookTable:
    values = shades(record).values
    top = sorted(record.nodes, key=lambda name: -abs(values.get(name, 0.0)))[:_SHOWN]
    rows = [(name, _number(record.effect(name).drop), _number(record.effect(name).loss)) for name in top]
    caption = f"The {len(top)} strongest of {count(len(record.nodes))} kept components"
    return NotebookTable(caption=caption, columns=("component", "drop, logits", "loss, logits"), rows=rows)


def _strongest_edges(record: CircuitRecord) -> NotebookTable:
    edges = record.edges or ()
    top = sorted(edges, key=lambda e: (-abs(e.effect or 0.0), e.sender, e.receiver))[:_SHOWN]
    rows = [(edge.sender, edge.receiver, _number(edge.effect)) for edge in top]
    caption = f"The {len(top)} strongest of {count(len(edges))} kept edges"
    return NotebookTable(caption=caption, columns=("sender", "receiver", f"effect, {record.edge_unit}"), rows=rows)


def _number(value: float | None) -> str:
    return NONE if value is None else fixed(value, 3)
