"""What the slots of a sequence hold instead."""

from collections.abc import Mapping, Sequence
from random import Random

from circuitkit.tasks.drawing import narrow
from circuitkit.tasks.rules import RandomElements
from circuitkit.tasks.schema import TaskDefinition
from circuitkit.tasks.task import Alike
from circuitkit.tasks.template import Template


def random_elements(
    definition: TaskDefinition,
    rule: RandomElements,
    values: Mapping[str, str],
    rng: Random,
    *,
    alike: Alike | None,
) -> dict[str, str]:
    """Random elements, the last of which does not follow the one before: no clean run ends like this.

    Lan et al. 2024 redraw their corrupted prompts by the same condition (S4 is not S3 + 1).
    """
    assert definition.sequence is not None, "checked when the file was read"
    elements = definition.lists[definition.sequence.list]
    choices = [narrow(elements, values[slot], set(), alike) for slot in rule.slots]
    if len(rule.slots) == 1:
        slot = rule.slots[0]
        return {slot: _one_element(definition.sequence.slots, slot, choices[0], elements, values=values, rng=rng)}
    before, last = choices[-2:]
    if len(before) == len(last) == 1 and elements.index(last[0]) == elements.index(before[0]) + 1:
        choices = [elements for _ in rule.slots]
    while True:
        drawn = [rng.choice(words) for words in choices]
        if elements.index(drawn[-1]) != elements.index(drawn[-2]) + 1:
            return dict(zip(rule.slots, drawn, strict=True))


def _one_element(
    slots: Sequence[str],
    slot: str,
    choices: Sequence[str],
    elements: Sequence[str],
    *,
    values: Mapping[str, str],
    rng: Random,
) -> str:
    """Another element in one place, that does not follow the one before it; one of the choices if any will do."""
    follows = elements.index(values[slots[slots.index(slot) - 1]]) + 1 if slot != slots[0] else len(elements)

    def other(words: Sequence[str]) -> list[str]:
        return [word for word in words if word != values[slot] and elements.index(word) != follows]

    return rng.choice(other(choices) or other(elements))


def shifted(
    definition: TaskDefinition, template: Template, values: Mapping[str, str], rng: Random, *, alike: Alike | None
) -> dict[str, str]:
    """The same run of elements from another start, which is one whose elements may well stand there if there is any."""
    assert definition.sequence is not None, "checked when the file was read"
    sequence, elements = definition.sequence, definition.lists[definition.sequence.list]
    shown = {slot for slot, _ in template.mentions}

    def run(start: int) -> dict[str, str]:
        return {slot: elements[start - 1 + i] for i, slot in enumerate(sequence.slots) if slot in shown}

    now = elements.index(values[sequence.slots[0]]) + 1
    starts = [start for start in sequence.starts if start != now]
    if alike is not None:
        fitting = [s for s in starts if all(alike(values[slot], word) for slot, word in run(s).items())]
        starts = fitting or starts
    return run(rng.choice(starts))
