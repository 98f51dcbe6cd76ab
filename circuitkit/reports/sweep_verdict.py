"""The plain sentences at the head of the report of a sweep over a method's parameter."""

from circuitkit.reports.circuit_study_records import SweepPoint, SweepRecord
from circuitkit.reports.numerals import count, fixed, share
from circuitkit.reports.verdict import Verdict, short_names

_ENOUGH = 0.9
_CAUTION = (
    "The best setting of a sweep was chosen after the fact on these prompts: judge it on others before relying on it. "
    "Circuits of neighbouring settings need not be nested."
)


def sweep_verdict(record: SweepRecord) -> Verdict:
    """Headline and supporting sentences for a sweep."""
    points = sorted(record.points, key=lambda point: point.value)
    judged = [point for point in points if point.faithfulness is not None]
    (model,), task = short_names(record.model.name), record.task.name
    enough = [point for point in judged if point.faithfulness is not None and point.faithfulness >= _ENOUGH]
    if not judged:
        headline = f"On {task}, circuits of {model} at {len(points)} values of {record.parameter} were not judged."
    elif enough:
        least = min(enough, key=lambda point: (_size(point), point.value))
        headline = (
            f"On {task}, the smallest circuit of {model} that keeps {share(_ENOUGH)} of the answer has "
            f"{size_of(least)} ({record.parameter} {least.value:g})."
        )
    else:
        best = max(judged, key=lambda point: point.faithfulness or 0.0)
        headline = (
            f"On {task}, no circuit of {model} keeps {share(_ENOUGH)} of the answer; the best keeps "
            f"{share(best.faithfulness or 0.0)} with {size_of(best)} ({record.parameter} {best.value:g})."
        )
    sizes = sorted(points, key=_size)
    support = [
        f"{len(points)} {'value' if len(points) == 1 else 'values'} of {record.parameter}, from {points[0].value:g} to "
        f"{points[-1].value:g}, give circuits of {size_of(sizes[0])} to {size_of(sizes[-1])}."
    ]
    if judged:
        low, high = (pick(point.faithfulness or 0.0 for point in judged) for pick in (min, max))
        support.append(f"Their faithfulness runs from {fixed(low)} to {fixed(high)}, where 1 is the whole model.")
    support.append(f"All rest on {count(record.task.n_prompts)} prompts.")
    return Verdict(headline=headline, support=tuple(support), caution=_CAUTION)


def _size(point: SweepPoint) -> int:
    return point.n_nodes if point.n_edges is None else point.n_edges


def size_of(point: SweepPoint) -> str:
    """`40 components`, or `150 edges between 40 components`."""
    nodes = f"{count(point.n_nodes)} component{'' if point.n_nodes == 1 else 's'}"
    if point.n_edges is None:
        return nodes
    return f"{count(point.n_edges)} edge{'' if point.n_edges == 1 else 's'} between {nodes}"
