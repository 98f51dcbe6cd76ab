"""The plain sentences at the head of a report of probes."""

from collections.abc import Sequence

from circuitkit.reports.numerals import count, fixed
from circuitkit.reports.probe_record import ProbeCurve, ProbeRecord
from circuitkit.reports.verdict import Verdict, short_names

CAUTION = (
    "What a probe can tell is present, not necessarily used: ablation and patching ask whether the model uses it. A "
    "network with random weights passes a good deal on too, so compare with it before saying that training put "
    "something there."
)


def probe_verdict(record: ProbeRecord) -> Verdict:
    """Headline and supporting sentences for probes of one model or two."""
    names = model_names(record)
    every = record.of("model") or record.curves
    curves = [curve for curve in every if curve.tested]
    told = [curve for curve in curves if curve.decodable_from is not None]
    if not curves:
        headline = f"On {record.task.name}, nothing was tested: an AUROC has no p-value without bootstrap draws."
    elif len(curves) == 1:
        headline = f"On {record.task.name}, {_one(curves[0], names[curves[0].who])}."
    else:
        which = "all" if len(told) == len(curves) else "none" if not told else count(len(told))
        headline = (
            f"On {record.task.name}, {which} of {len(curves)} targets can be told from {names['model']}\u2019s "
            "activations better than from its embedding and better than by chance."
        )
    support: list[str] = []
    if len(curves) > 1 and told:
        support.append(f"{_firsts(told)}.")
    if curves and len(curves) < len(every):
        untested = ", ".join(curve.target for curve in every if not curve.tested)
        support.append(f"Not tested, for lack of bootstrap draws: {untested}.")
    student = [curve for curve in record.of("student") if curve.tested]
    if student:
        found = [c for c in student if c.decodable_from is not None]
        listed = (
            f": {_firsts(found, first='from')}" if len(student) > 1 else f", from {_from(found[0])}" if found else ""
        )
        support.append(f"From {names['student']}\u2019s, {len(found)} of {len(student)} can{listed if found else ''}.")
    support.extend(_random(every, record.of("random")))
    support.append(f"{count(record.cost.fits)} logistic regressions, each judged on prompts that it was not fitted on.")
    return Verdict(headline=headline, support=tuple(support), caution=CAUTION)


def model_names(record: ProbeRecord) -> dict[str, str]:
    """What each model is called on the page."""
    if record.student is None:
        (model,) = short_names(record.model.name)
        return {"model": model, "random": "random weights"}
    model, student = short_names(record.model.name, record.student.name)
    return {"model": model, "student": student, "random": "random weights"}


def _one(curve: ProbeCurve, name: str) -> str:
    if curve.decodable_from is None:
        return (
            f"{curve.target} cannot be told from {name}\u2019s activations better than from its embedding or by chance"
        )
    return f"{curve.target} can be told from {name} from {_from(curve)} (chance {fixed(curve.chance)})"


def _from(curve: ProbeCurve) -> str:
    first, best = curve.decodable_from, curve.best_row
    value = f"{curve.metric} {fixed(best.value)}"
    return f"{first} on, {value} there" if first == best.name else f"{first} on, {value} at {best.name}"


def _firsts(told: Sequence[ProbeCurve], *, first: str = "From") -> str:
    """Targets by where they can first be told."""
    groups: dict[str, list[str]] = {}
    for curve in told:
        groups.setdefault(curve.decodable_from or "", []).append(curve.target)
    listed = [f"{name} on: {', '.join(targets)}" for name, targets in groups.items()]
    return f"{first} {'; from '.join(listed)}"


def _random(curves: Sequence[ProbeCurve], random: Sequence[ProbeCurve]) -> list[str]:
    if not random:
        return []
    beside = {curve.target: curve.best_row for curve in random}
    above: list[str] = []
    for curve in curves:
        best, other = curve.best_row, beside[curve.target]
        if best.ci95 is not None and other.ci95 is not None and best.ci95[0] > other.ci95[1]:
            above.append(curve.target)
    said = ", ".join(above) if above else "none"
    return [f"Told better than from the best layer of the same network with random weights (intervals apart): {said}."]
