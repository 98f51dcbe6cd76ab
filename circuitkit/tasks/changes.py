"""What a prompt that was filled from slots holds instead, by the rules that its task names."""

from collections.abc import Mapping, Sequence
from random import Random

from circuitkit.tasks.drawing import draw_other, narrow, whole_numbers
from circuitkit.tasks.rules import (
    AnotherRow,
    CopySlots,
    OtherRowsWords,
    RandomElements,
    Redraw,
    SetSlots,
    Shift,
    ShuffleWords,
)
from circuitkit.tasks.schema import Counterfactual, IntegerSlot, TaskDefinition
from circuitkit.tasks.sequence_changes import random_elements, shifted
from circuitkit.tasks.task import Alike
from circuitkit.tasks.template import Mention, Template


def change(
    rule: Counterfactual,
    definition: TaskDefinition,
    template: Template,
    values: Mapping[str, str],
    rng: Random,
    *,
    alike: Alike | None = None,
) -> dict[Mention, str]:
    """What the changed prompt holds instead, mention by mention.

    Args:
        rule: How it is changed; one of the rules that change slots.
        definition: The task.
        template: The template of the clean prompt, which the changed prompt keeps.
        values: What the clean prompt holds.
        rng: Where the randomness comes from.
        alike: Words are replaced by words that this accepts in their place, as far as there are any.
    """
    match rule:
        case Redraw():
            return _redraw(definition, rule, template, values, rng, alike=alike)
        case RandomElements():
            return _spread(template, random_elements(definition, rule, values, rng, alike=alike))
        case SetSlots():
            return _spread(template, rule.values)
        case CopySlots():
            return {(change.slot, change.mention): values[change.source] for change in rule.changes}
        case Shift():
            return _spread(template, shifted(definition, template, values, rng, alike=alike))
        case AnotherRow() | ShuffleWords() | OtherRowsWords():
            raise AssertionError(f"{rule!r} does not change slots")


def varies(rule: Counterfactual | None) -> bool:
    """Whether another draw can give another prompt: fixed values and copied ones stay what they are."""
    return rule is not None and not isinstance(rule, SetSlots | CopySlots)


def _spread(template: Template, changed: Mapping[str, str]) -> dict[Mention, str]:
    """Every mention of a changed slot gets the slot's new value."""
    return {mention: changed[mention[0]] for mention in template.mentions if mention[0] in changed}


def _redraw(
    definition: TaskDefinition,
    rule: Redraw,
    template: Template,
    values: Mapping[str, str],
    rng: Random,
    *,
    alike: Alike | None,
) -> dict[Mention, str]:
    avoid = set(values.values())
    changed: dict[Mention, str] = {}
    for mention in template.mentions:
        slot, count = mention
        if slot not in rule.slots or rule.mention not in (None, count):
            continue
        if count > 1 and rule.mentions == "together" and rule.mention is None:
            changed[mention] = changed[slot, 1]
            continue
        changed[mention] = _another(definition, slot, values, rng, avoid=avoid, alike=alike)
        avoid.add(changed[mention])
    return changed


def _another(
    definition: TaskDefinition,
    slot: str,
    values: Mapping[str, str],
    rng: Random,
    *,
    avoid: set[str],
    alike: Alike | None,
) -> str:
    """Another value of one slot."""
    kind = definition.slots[slot]
    if isinstance(kind, IntegerSlot):
        numbers: Sequence[str] = whole_numbers(slot, kind, values)
        return draw_other(narrow(numbers, values[slot], {values[slot]}, alike), {values[slot]}, rng)
    return draw_other(narrow(definition.lists[kind.list], values[slot], avoid, alike), avoid, rng)
