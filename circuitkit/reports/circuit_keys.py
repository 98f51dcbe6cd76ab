"""The row of key figures of one circuit."""

from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.judgement_record import Completeness, Judgement, Measured
from circuitkit.reports.key_figures import KeyFigure
from circuitkit.reports.numerals import count, fixed, interval, share


def circuit_keys(record: CircuitRecord) -> tuple[KeyFigure, ...]:
    """The row of key figures; what was not measured is left out."""
    judged, task = record.faithfulness, record.task
    dropped = "none dropped" if task.n_dropped == 0 else f"{count(task.n_dropped)} dropped"
    keys = [
        None if judged is None else _key("Faithfulness", judged.faithfulness, 3, "1 is the whole model"),
        KeyFigure(
            name="Components kept",
            value=count(len(record.nodes)),
            note=f"of {count(record.n_possible.nodes)}, {share(len(record.nodes) / record.n_possible.nodes)}",
        ),
        None if record.edges is None else _edges_key(len(record.edges), record.n_possible.edges),
        *(() if judged is None else _judged_keys(judged)),
        *_work(record.evaluations, record.gradients),
        KeyFigure(name="Prompts", value=count(task.n_prompts), note=dropped),
    ]
    return tuple(key for key in keys if key is not None)


def _work(runs: int | None, gradients: int | None) -> tuple[KeyFigure, ...]:
    """What the search ran; a kind of run that it did without is left out."""
    counted = (("Circuits run", runs, "to find this one"), ("Gradients taken", gradients, "of each prompt"))
    return tuple(KeyFigure(name=name, value=count(n), note=note) for name, n, note in counted if n)


def _judged_keys(judged: Judgement) -> tuple[KeyFigure | None, ...]:
    circuit, whole, curve = judged.accuracy.circuit, judged.accuracy.model, judged.curve
    beside = "" if whole is None else f"whole model {share(whole)}"
    areas = (
        ()
        if curve is None or curve.cpr is None or curve.cmd is None
        else (
            _key("CPR", Measured(mean=curve.cpr, ci95=curve.ci95.cpr), 3, "area of the curve"),
            _key("CMD", Measured(mean=curve.cmd, ci95=curve.ci95.cmd), 3, "distance to 1"),
        )
    )
    return (
        _key("Logit difference, model", judged.model_logit_diff, 2, "whole"),
        _key("Logit difference, circuit", judged.circuit_logit_diff, 2, "the rest ablated"),
        _key("Logit difference, rest", judged.complement_logit_diff, 2, "the circuit ablated"),
        _key("Logit difference, corrupted", judged.corrupted_logit_diff, 2, "nothing kept"),
        _key("Left without the circuit", judged.complement_share, 3, "share of the answer"),
        None if judged.completeness is None else _completeness(judged.completeness),
        _key("KL from the model", judged.kl, 3, "nats; 0 is the whole model"),
        None if circuit is None else KeyFigure(name="Accuracy, circuit", value=share(circuit), note=beside),
        *areas,
    )


def _edges_key(kept: int, possible: int | None) -> KeyFigure:
    note = "" if possible is None else f"of {count(possible)}, {fixed(100 * kept / possible, 1)}%"
    return KeyFigure(name="Edges kept", value=count(kept), note=note)


def _completeness(value: Completeness) -> KeyFigure | None:
    number = Measured(mean=value.mean_difference, ci95=value.ci95.get("mean_difference"))
    over = "" if value.n_subsets is None else f" over {count(value.n_subsets)} subsets"
    return _key("Completeness gap", number, 3, f"mean{over}, logits; 0 is complete")


def _key(name: str, value: Measured | None, digits: int, note: str) -> KeyFigure | None:
    if value is None:
        return None
    under = note if value.ci95 is None else f"95% interval {interval(value.ci95, digits)}; {note}"
    return KeyFigure(name=name, value=fixed(value.mean, digits), note=under)
