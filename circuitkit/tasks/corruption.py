"""The closed set of ways to make a corrupted prompt from a clean one that was filled from slots."""

from collections.abc import Mapping
from random import Random

from circuitkit.tasks.drawing import draw_other
from circuitkit.tasks.schema import ListSlot, RandomElements, Redraw, SetSlots, TaskDefinition
from circuitkit.tasks.template import Mention, Template


def corrupt(
    definition: TaskDefinition, template: Template, values: Mapping[str, str], rng: Random
) -> dict[Mention, str]:
    """What the corrupted prompt holds instead, mention by mention.

    Args:
        definition: The task; its corruption is one of the kinds that change slots.
        template: The template of the clean prompt, which the corrupted prompt keeps.
        values: What the clean prompt holds.
        rng: Where the randomness comes from.
    """
    match definition.corruption:
        case Redraw() as rule:
            return _redraw(definition, rule, template, values, rng)
        case RandomElements() as rule:
            return _spread(template, _random_elements(definition, rule, rng))
        case SetSlots() as rule:
            return _spread(template, rule.values)
        case other:
            raise AssertionError(f"{other!r} does not change slots")


def _spread(template: Template, changed: Mapping[str, str]) -> dict[Mention, str]:
    """Every mention of a changed slot gets the slot's new value."""
    return {mention: changed[mention[0]] for mention in template.mentions if mention[0] in changed}


def _redraw(
    definition: TaskDefinition, rule: Redraw, template: Template, values: Mapping[str, str], rng: Random
) -> dict[Mention, str]:
    avoid = set(values.values())
    changed: dict[Mention, str] = {}
    for mention in template.mentions:
        slot, count = mention
        if slot not in rule.slots:
            continue
        if count > 1 and rule.mentions == "together":
            changed[mention] = changed[slot, 1]
            continue
        kind = definition.slots[slot]
        assert isinstance(kind, ListSlot), "checked when the file was read"
        changed[mention] = draw_other(definition.lists[kind.list], avoid, rng)
        avoid.add(changed[mention])
    return changed


def _random_elements(definition: TaskDefinition, rule: RandomElements, rng: Random) -> dict[str, str]:
    """Random elements, the last of which does not follow the one before: no clean run ends like this.

    Lan et al. 2024 redraw their corrupted prompts by the same condition (S4 is not S3 + 1).
    """
    assert definition.sequence is not None, "checked when the file was read"
    elements = definition.lists[definition.sequence.list]
    while True:
        places = [rng.randrange(len(elements)) for _ in rule.slots]
        if places[-1] != places[-2] + 1:
            return {slot: elements[place] for slot, place in zip(rule.slots, places, strict=True)}
