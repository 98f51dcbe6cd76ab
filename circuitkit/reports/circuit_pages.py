"""From a checked circuit, sweep or comparison to what its page's template needs."""

from collections.abc import Mapping
from typing import Any

from circuitkit.reports.circuit_graph import edge_graph
from circuitkit.reports.circuit_grid import node_grid
from circuitkit.reports.circuit_keys import circuit_keys
from circuitkit.reports.circuit_layers import NARROW, WIDE
from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.circuit_study_records import ComparisonRecord, SweepRecord
from circuitkit.reports.circuit_verdict import circuit_verdict, circuit_warnings
from circuitkit.reports.comparison import badges, comparison_rows, comparison_verdict, comparison_warnings, matches
from circuitkit.reports.curve_figure import curve_figure
from circuitkit.reports.graph_parts import CircuitGraph
from circuitkit.reports.pages import Context, provenance
from circuitkit.reports.records import read_record
from circuitkit.reports.role_comparison import roles_in_words, what_happened
from circuitkit.reports.sweep_figure import sweep_figure
from circuitkit.reports.sweep_verdict import sweep_verdict

ROWS = 200


def circuit_page(result: Mapping[str, Any]) -> Context:
    """Context of `circuit.html.j2`.

    Raises:
        ResultError: The result lacks something that the report shows.
    """
    record = read_record(CircuitRecord, result)
    curve = None if record.faithfulness is None else record.faithfulness.curve
    figure = None if curve is None else curve_figure("curve", record, curve)
    return {
        "title": f"Circuit of {record.model.name} on {record.task.name}",
        "kicker": "Circuit of one model",
        "record": record,
        "verdict": circuit_verdict(record),
        "warnings": circuit_warnings(record),
        "keys": circuit_keys(record),
        "graph": circuit_graph(record, id_="circuit"),
        **_tables(record),
        "curve": figure,
        "figures": [] if figure is None else [figure.plain()],
        "attention": [],
        "models": (record.model,),
        "provenance": provenance(result),
    }


def circuit_graph(
    record: CircuitRecord, *, id_: str, room: float = WIDE, badges: Mapping[str, int] | None = None
) -> CircuitGraph:
    """The drawing of either kind of circuit."""
    draw = node_grid if record.edges is None else edge_graph
    return draw(record, id_=id_, room=room, badges=badges)


def _tables(record: CircuitRecord) -> Context:
    """The strongest nodes and edges first, each cut to the first `ROWS`."""

    def strength(name: str) -> float:
        effect = record.effect(name)
        return abs(effect.drop if effect.drop is not None else effect.loss or 0.0)

    nodes = sorted(record.nodes, key=lambda name: -strength(name))
    edges = sorted(record.edges or (), key=lambda e: (-abs(e.effect or 0.0), e.sender, e.receiver))
    measured = None if record.faithfulness is None else record.faithfulness.minimality
    costs = {} if measured is None else measured.parts
    return {
        "nodes": [(name, record.effect(name)) for name in nodes[:ROWS]],
        "edges": edges[:ROWS],
        "costs": sorted(costs.items(), key=lambda item: -item[1].loss)[:ROWS],
    }


def sweep_page(result: Mapping[str, Any]) -> Context:
    """Context of `circuit-sweep.html.j2`.

    Raises:
        ResultError: The result lacks something that the report shows.
    """
    record = read_record(SweepRecord, result)
    figure = sweep_figure("sweep", record)
    return {
        "title": f"Circuits of {record.model.name} on {record.task.name}",
        "kicker": "Circuits at several settings",
        "record": record,
        "points": sorted(record.points, key=lambda point: point.value),
        "verdict": sweep_verdict(record),
        "figure": figure,
        "figures": [figure.plain()],
        "attention": [],
        "models": (record.model,),
        "provenance": provenance(result),
    }


def comparison_page(result: Mapping[str, Any]) -> Context:
    """Context of `comparison.html.j2`.

    Raises:
        ResultError: The result lacks something that the report shows.
    """
    record = read_record(ComparisonRecord, result)
    found, compared = matches(record), record.roles
    drawn = {
        who: circuit_graph(part, id_=f"{who}-circuit", room=NARROW, badges=badges(found, who))
        for who, part in (("teacher", record.circuits.teacher), ("student", record.circuits.student))
    }
    return {
        "title": f"Circuits of {record.teacher.name} and {record.student.name} on {record.task.name}",
        "kicker": "Circuits of two models",
        "record": record,
        "verdict": comparison_verdict(record, found),
        "warnings": comparison_warnings(record),
        "graphs": drawn,
        "matches": found,
        "rows": comparison_rows(record),
        "said_of_roles": roles_in_words(compared),
        "happened": {} if compared is None else {name: what_happened(r) for name, r in compared.roles.items()},
        "tables": {"teacher": _tables(record.circuits.teacher), "student": _tables(record.circuits.student)},
        "figures": [],
        "attention": [],
        "models": (record.teacher, record.student),
        "provenance": provenance(result),
    }
