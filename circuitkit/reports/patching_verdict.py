"""The plain sentences at the head of the report of activation patching."""

from circuitkit.reports.numerals import count, fixed, share, with_interval
from circuitkit.reports.patching_record import PatchingRecord
from circuitkit.reports.verdict import Verdict, short_names

_MOST, _WORTH_SAYING = 0.5, 0.05
_CAUTION = {
    "denoise": "What is restored says where the answer can be put back into a run that lacks it: enough, not needed. "
    "Places that repair each other, or that only work together, do not show. It says nothing of how it is computed.",
    "noise": "What is lost says where the answer cannot be taken away unnoticed: needed, not enough. Places that stand "
    "in for each other do not show. It says nothing of how the answer is computed.",
}


def patching_verdict(record: PatchingRecord) -> Verdict:
    """Headline and supporting sentences for a patching map."""
    (model,), task = short_names(record.model.name), record.task.name
    if record.task.n_prompts == 1:
        headline = f"One prompt of {task} cannot show what corruption does to {model}: read the effects as an example."
    elif not record.gap.clear:
        headline = f"On {task}, corruption does not clearly change the answers of {model}: there is nothing to move."
    else:
        headline = f"On {task}, {_moves(record) or _largest(record)}"
    done = "clean activations into corrupted prompts" if record.direction == "denoise" else "the reverse"
    support = [
        f"The logit difference of {model} is {with_interval(record.logit_diff.mean, record.logit_diff.ci95)} on clean "
        f"prompts and {with_interval(record.corrupted_logit_diff.mean, record.corrupted_logit_diff.ci95)} on corrupted "
        f"ones; patched were {done}, over {count(record.task.n_prompts)} prompts."
    ]
    if record.gap.clear:
        support += _by_part(record)
    return Verdict(headline=headline, support=tuple(support), caution=_CAUTION[record.direction])


def _moves(record: PatchingRecord) -> str | None:
    """Where the stream's answer goes: the block from which on the last place carries most of it."""
    blocks = [row for row in record.rows if row.part == "block"]
    if not blocks:
        return None
    end, _ = record.strongest(blocks[-1].name)
    held = [(record.effects[row.name][end].share or 0.0) >= _MOST for row in blocks]
    first = len(held) - next((i for i, on in enumerate(reversed(held)) if not on), len(held))
    if first == len(held):
        return None
    there = record.effects[blocks[first].name][end]
    verb = "restores" if record.direction == "denoise" else "takes away"
    told = f"the stream at {_at(end)} {verb} {share(there.share or 0.0)} of the answer behind {blocks[first].name}"
    if first == 0:
        return f"{told}, and most of it from the start."
    before, effect = record.strongest(blocks[first - 1].name)
    if before == end:
        return f"{told}, where it first holds most of it."
    return f"{told}; one stage before, {_at(before)} does most ({share(effect.share or 0.0)})."


def _largest(record: PatchingRecord) -> str:
    best = max(record.rows, key=lambda row: record.strongest(row.name)[1].effect)
    position, effect = record.strongest(best.name)
    return (
        f"{best.name} at {_at(position)} does most: {fixed(effect.effect)} of {fixed(record.gap.mean)} logits "
        f"({share(effect.share or 0.0)})."
    )


def _by_part(record: PatchingRecord) -> list[str]:
    """The strongest row of every part but blocks."""
    found: list[str] = []
    for part in dict.fromkeys(row.part for row in record.rows if row.part != "block"):
        best = max((r for r in record.rows if r.part == part), key=lambda r: record.strongest(r.name)[1].effect)
        position, effect = record.strongest(best.name)
        if (effect.share or 0.0) >= _WORTH_SAYING:
            found.append(f"{best.name} at {_at(position)} {share(effect.share or 0.0)}")
    return [f"Strongest places by kind: {', '.join(found)}."] if found else []


def _at(position: str) -> str:
    """A label as it is; a token by its number and, where all prompts have the same one there, its text."""
    number, _, text = position.partition(" ")
    if not number.isdecimal():
        return position
    return f"position {number}" + (f" (\u201c{text}\u201d)" if text else "")
