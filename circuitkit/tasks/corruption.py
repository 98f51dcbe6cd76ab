"""The closed set of ways to make a corrupted prompt from a clean one that was filled from slots."""

from collections.abc import Mapping, Sequence
from random import Random

from circuitkit.tasks.drawing import draw_other
from circuitkit.tasks.schema import ListSlot, RandomElements, Redraw, SetSlots, TaskDefinition
from circuitkit.tasks.task import Alike
from circuitkit.tasks.template import Mention, Template


def corrupt(
    definition: TaskDefinition,
    template: Template,
    values: Mapping[str, str],
    rng: Random,
    *,
    alike: Alike | None = None,
) -> dict[Mention, str]:
    """What the corrupted prompt holds instead, mention by mention.

    Args:
        definition: The task; its corruption is one of the kinds that change slots.
        template: The template of the clean prompt, which the corrupted prompt keeps.
        values: What the clean prompt holds.
        rng: Where the randomness comes from.
        alike: Words are replaced by words that this accepts in their place, as far as there are any.
    """
    match definition.corruption:
        case Redraw() as rule:
            return _redraw(definition, rule, template, values, rng, alike=alike)
        case RandomElements() as rule:
            return _spread(template, _random_elements(definition, rule, values, rng, alike=alike))
        case SetSlots() as rule:
            return _spread(template, rule.values)
        case other:
            raise AssertionError(f"{other!r} does not change slots")


def _narrow(words: Sequence[str], old: str, avoid: set[str], alike: Alike | None) -> Sequence[str]:
    """The words that may well replace an old one; all of them if none is left otherwise."""
    if alike is None:
        return words
    return [word for word in words if word not in avoid and alike(old, word)] or words


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
        if slot not in rule.slots:
            continue
        if count > 1 and rule.mentions == "together":
            changed[mention] = changed[slot, 1]
            continue
        kind = definition.slots[slot]
        assert isinstance(kind, ListSlot), "checked when the file was read"
        words = _narrow(definition.lists[kind.list], values[slot], avoid, alike)
        changed[mention] = draw_other(words, avoid, rng)
        avoid.add(changed[mention])
    return changed


def _random_elements(
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
    choices = [_narrow(elements, values[slot], set(), alike) for slot in rule.slots]
    before, last = choices[-2:]
    if len(before) == len(last) == 1 and elements.index(last[0]) == elements.index(before[0]) + 1:
        choices = [elements for _ in rule.slots]
    while True:
        drawn = [rng.choice(words) for words in choices]
        if elements.index(drawn[-1]) != elements.index(drawn[-2]) + 1:
            return dict(zip(rule.slots, drawn, strict=True))
