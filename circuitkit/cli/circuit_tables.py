"""Summaries of circuits for a terminal, on standard error."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from circuitkit.cli.console import notice, stderr
from circuitkit.cli.numbers import interval
from circuitkit.core.utf8 import printable
from circuitkit.discovery.circuit import Circuit, NodeEffect
from circuitkit.discovery.circuit_sweep import CircuitSweep
from circuitkit.experiments.compare import ModelComparison

MOST_ROWS = 12


def circuit_table(circuit: Circuit) -> None:
    """Print how large and how faithful a circuit is, and its strongest parts."""
    stderr().print(_text(f"{circuit.method} on {circuit.model.name}, {circuit.task['name']}", "bold"))
    figures = Table(show_header=False, box=None)
    for name, value in _figures(circuit):
        figures.add_row(name, _text(value))
    stderr().print(figures)
    if circuit.kind == "edges":
        stderr().print(_edges(circuit))
    stderr().print(_nodes(circuit))
    for warning in circuit.notices:
        notice(f"note: {warning}")


def sweep_table(sweep: CircuitSweep) -> None:
    """Print one line a value of the parameter."""
    first = sweep.circuits[0]
    stderr().print(_text(f"{first.method} on {first.model.name}, {first.task['name']}", "bold"))
    table = Table(sweep.parameter, "nodes", "edges", "faithfulness", "95% interval", "KL (nats)", "accuracy")
    for point in sweep.points():
        edges = point["n_edges"]
        table.add_row(
            f"{point['value']:g}",
            str(point["n_nodes"]),
            "-" if edges is None else str(edges),
            _number(point.get("faithfulness")),
            _text(interval(point.get("ci95"))),
            _number(point.get("kl")),
            _number(point.get("accuracy")),
        )
    stderr().print(table)
    for warning in dict.fromkeys(w for circuit in sweep.circuits for w in circuit.notices):
        notice(f"note: {warning}")


def comparison_table(result: ModelComparison) -> None:
    """Print the two circuits' sizes and faithfulness in two columns."""
    table = Table("", "teacher", "student")
    rows = [dict(_figures(circuit)) for circuit in (result.teacher, result.student)]
    for name in {**rows[0], **rows[1]}:
        table.add_row(name, *(_text(row.get(name, "-")) for row in rows))
    scores = result.alignment.scores
    table.add_row("alignment A", _text(f"{scores.score:.3f} {interval(scores.ci95)}"), "")
    stderr().print(table)


def _figures(circuit: Circuit) -> list[tuple[str, str]]:
    space = circuit.space
    rows = [("heads and MLPs", f"{len(circuit.nodes)} of {len(space.senders) - 1}")]
    if circuit.edges is not None:
        rows.append(("edges", f"{len(circuit.edges)} of {space.n_edges}"))
    work = (("circuits run", circuit.evaluations), ("gradients taken of each prompt", circuit.gradients))
    ran = [(name, str(n)) for name, n in work if n]
    judged = circuit.faithfulness
    if judged is None:
        return [*rows, ("faithfulness", "not measured"), *ran]
    bounds: Mapping[str, Any] = judged["ci95"]
    for name, key in (
        ("logit difference of the model", "model_logit_diff"),
        ("of the circuit", "circuit_logit_diff"),
        ("of the model without it", "complement_logit_diff"),
        ("of the model with nothing kept", "corrupted_logit_diff"),
        ("of the circuit, share of the model's", "logit_diff_share"),
        ("faithfulness", "faithfulness"),
    ):
        rows.append((name, f"{_number(judged[key])} {interval(bounds[key])}"))
    if judged["kl"] is not None:
        rows.append(("KL from the model (nats)", f"{judged['kl']['mean']:.3f} {interval(judged['kl']['ci95'])}"))
    accuracy = judged["accuracy"]
    rows.append(("answer above the distractor", f"{accuracy['circuit']:.0%} (model {accuracy['model']:.0%})"))
    if accuracy["circuit_top1"] is not None:
        of_all = f"{accuracy['circuit_top1']:.0%} (model {accuracy['model_top1']:.0%})"
        rows.append(("answer above all tokens", of_all))
    return [*rows, *ran]


def _nodes(circuit: Circuit) -> Table:
    table = Table("node", "drop alone (logits)", "loss in the circuit (logits)")
    effects = [(node, circuit.node_effects.get(node, NodeEffect())) for node in circuit.nodes]
    ranked = sorted(effects, key=lambda pair: -abs(pair[1].loss or pair[1].drop or 0.0))
    for node, effect in ranked[:MOST_ROWS]:
        table.add_row(str(node), _number(effect.drop), _number(effect.loss))
    return _with_rest(table, len(ranked))


def _edges(circuit: Circuit) -> Table:
    table = Table("sender", "receiver", "effect")
    frame = circuit.frame()
    for row in frame.head(MOST_ROWS).to_dict("records"):
        table.add_row(row["sender"], row["receiver"], _number(row["effect"]))
    return _with_rest(table, len(frame))


def _with_rest(table: Table, n: int) -> Table:
    if n > MOST_ROWS:
        table.caption = f"the strongest {MOST_ROWS} of {n}"
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text.strip()), style=style)
