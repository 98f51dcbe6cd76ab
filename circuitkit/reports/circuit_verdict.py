"""The plain sentences at the head of the report of one circuit, and what its numbers warn of."""

from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.judgement_record import Judgement, Measured
from circuitkit.reports.numerals import count, fixed, share, with_interval
from circuitkit.reports.verdict import Verdict, short_names

CAUTION = (
    "Faithfulness says that these parts are enough on these prompts under this ablation, not that they are the only "
    "ones that would do, nor what they compute. A circuit that is large enough is always faithful: read it beside "
    "the size and the logit difference of the rest."
)
_OUTSIDE = {
    "corrupted-mean": "its mean over the corrupted prompts",
    "mean": "its mean over the prompts",
    "resample": "its value on a corrupted prompt",
    "zero": "zero",
}
_HALF, _MUCH_LEFT, _OVERSHOOT, _FEW_PROMPTS = 0.5, 0.3, 1.1, 20


def able(record: CircuitRecord) -> bool:
    """Whether the whole model's logit difference, or its whole interval, is above zero; yes where not measured."""
    if record.faithfulness is None:
        return True
    whole = record.faithfulness.model_logit_diff
    return (whole.ci95[0] if whole.ci95 else whole.mean) > 0


def circuit_verdict(record: CircuitRecord) -> Verdict:
    """Headline and supporting sentences for one circuit."""
    judged = record.faithfulness
    numbers = () if judged is None else (_logits(judged), *_rest(judged))
    return Verdict(headline=_headline(record), support=(_kept(record), *numbers), caution=CAUTION)


def size_in_words(record: CircuitRecord) -> str:
    """`150 of 32 491 edges (40 of 156 components)`, or `30 of 156 components`."""
    nodes = f"{count(len(record.nodes))} of {count(record.n_possible.nodes)} components"
    if record.edges is None:
        return nodes
    possible = "" if record.n_possible.edges is None else f" of {count(record.n_possible.edges)}"
    return f"{count(len(record.edges))}{possible} edges ({nodes})"


def outside_in_words(record: CircuitRecord) -> str:
    """What stands in for everything that is not in the circuit."""
    ablation = record.settings.get("ablation")
    replaced = _OUTSIDE.get(str(ablation), f"its replacement ({ablation})" if ablation else "its replacement")
    what = "Every component outside carries" if record.edges is None else "Along every other edge its sender carries"
    return f"{what} {replaced}"


def verb_for(judged: Judgement | None) -> str:
    """What the kept parts do with the model's answer, no stronger than the number."""
    if judged is None:
        return "were kept, but how much of the answer they keep was not measured"
    faithfulness = judged.faithfulness
    if faithfulness is None:
        return "have no defined faithfulness, because the effect of corruption is not clear on these prompts"
    percent = share(faithfulness.mean)
    if (faithfulness.ci95[0] if faithfulness.ci95 else faithfulness.mean) <= 0:
        return f"cannot be shown to reproduce any of the answer (faithfulness {percent})"
    if faithfulness.mean > _OVERSHOOT:
        return f"answer more strongly than the whole model (faithfulness {percent})"
    return f"keep {'only ' if faithfulness.mean < _HALF else ''}{percent} of the answer"


def _headline(record: CircuitRecord) -> str:
    (model,), task = short_names(record.model.name), record.task.name
    if not able(record):
        return f"{model} cannot be shown to do {task}, so this circuit describes noise or another task."
    if not (record.nodes if record.edges is None else record.edges):
        return f"On {task}, nothing of {model} was kept: there is no circuit at these settings."
    return f"On {task}, {size_in_words(record)} of {model} {verb_for(record.faithfulness)}."


def _kept(record: CircuitRecord) -> str:
    kept, possible, what = len(record.nodes), record.n_possible.nodes, "components"
    if record.edges is not None and record.n_possible.edges:
        kept, possible, what = len(record.edges), record.n_possible.edges, "edges"
    part = 100 * kept / possible
    return (
        f"The method {record.method} kept {fixed(part, 1 if part < 10 else 0)}% of the {what}. "
        f"{outside_in_words(record)}."
    )


def _logits(judged: Judgement) -> str:
    whole, circuit = judged.model_logit_diff, judged.circuit_logit_diff
    text = (
        f"Logit difference: whole model {with_interval(whole.mean, whole.ci95)}, circuit alone "
        f"{with_interval(circuit.mean, circuit.ci95)}"
    )
    if judged.corrupted_logit_diff is not None:
        text += f", nothing kept {fixed(judged.corrupted_logit_diff.mean)}"
    if judged.faithfulness is None:
        return f"{text}."
    faithful = judged.faithfulness
    return f"{text}; faithfulness {with_interval(faithful.mean, faithful.ci95)}, where 1 is the whole model."


def left_without(judged: Judgement) -> Measured | None:
    """Share of the answer that the rest of the model gives without the circuit."""
    if judged.complement_share is not None:
        return judged.complement_share
    if judged.faithfulness is None or judged.complement_logit_diff is None or judged.corrupted_logit_diff is None:
        return None
    low, whole = judged.corrupted_logit_diff.mean, judged.model_logit_diff.mean
    return Measured(mean=(judged.complement_logit_diff.mean - low) / (whole - low)) if whole != low else None


def _rest(judged: Judgement) -> tuple[str, ...]:
    sentences: list[str] = []
    if (rest := judged.complement_logit_diff) is not None:
        left = left_without(judged)
        words = "" if left is None else f": {share(left.mean)} of the answer is left"
        sentences.append(
            f"With the circuit ablated and the rest kept the logit difference is "
            f"{with_interval(rest.mean, rest.ci95)}{words}."
        )
    if (circuit := judged.accuracy.circuit) is not None:
        whole = judged.accuracy.model
        beside = "" if whole is None else f", the whole model {share(whole)}"
        sentences.append(f"The circuit alone prefers the correct answer on {share(circuit)} of the prompts{beside}.")
    return tuple(sentences)


def circuit_warnings(record: CircuitRecord) -> tuple[str, ...]:
    """The result's own warnings, then what its numbers warn of."""
    found = [*record.warnings, *_doubts(record)]
    if len(record.nodes) > _HALF * record.n_possible.nodes:
        found.append("More than half of all components are kept: such a circuit says little about where the task is.")
    if 0 < record.task.n_prompts < _FEW_PROMPTS:
        n = record.task.n_prompts
        found.append("Only one prompt was used." if n == 1 else f"Only {n} prompts were used.")
    return tuple(found)


def _doubts(record: CircuitRecord) -> list[str]:
    judged, found = record.faithfulness, list[str]()
    if judged is None:
        return ["The circuit was not judged: nothing is known of how faithful it is."]
    left, faithful, minimality = left_without(judged), judged.faithfulness, judged.minimality
    if left is not None and left.mean > _MUCH_LEFT and able(record):
        found.append(
            f"The circuit is not complete: without it the rest of the model still gives {share(left.mean)} of the "
            "answer, so other parts can do the same work."
        )
    if faithful is not None and faithful.mean > _OVERSHOOT:
        found.append(
            f"Faithfulness is above 1 ({fixed(faithful.mean)}): parts that work against the answer were left out, so "
            "the circuit does not do what the whole model does."
        )
    if minimality is not None and minimality.n_not_needed:
        found.append(
            f"The circuit is not minimal: {count(minimality.n_not_needed)} of {count(len(minimality.parts))} measured "
            "parts can be removed, one at a time, without loss."
        )
    if faithful is not None and faithful.ci95 is None:
        found.append("No interval was computed: the faithfulness may be an accident of these prompts.")
    return found
