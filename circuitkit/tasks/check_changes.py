"""Checks of the rules by which a task file changes its prompts."""

from collections.abc import Sequence
from typing import assert_never

from circuitkit.core.errors import TaskError
from circuitkit.tasks.check_slots import known, known_slots
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
from circuitkit.tasks.template import Mention, Template


def check_change(what: str, rule: Counterfactual, definition: TaskDefinition, templates: Sequence[Template]) -> None:
    """Check that a rule goes with the task and changes something in each of its templates.

    Args:
        what: What to call it in errors, to begin a sentence with.
        rule: The rule.
        definition: The task, its slots checked.
        templates: Its templates.

    Raises:
        TaskError: It does not.
    """
    of_rows = isinstance(rule, AnotherRow | ShuffleWords | OtherRowsWords)
    if of_rows != (definition.table is not None):
        raise TaskError(
            f"{what} is {rule.kind!r} and the task has {'a' if definition.table else 'no'} table; wanted "
            "'another-row', 'shuffle-words' or 'words-of-another-row' with a table and another kind without. "
            "Change the kind."
        )
    if isinstance(rule, AnotherRow):
        return
    if isinstance(rule, ShuffleWords | OtherRowsWords):
        _check_changes(what, {rule.slot}, templates)
        return
    if isinstance(rule, CopySlots):
        _check_copies(what, rule, definition, templates)
        return
    changed = _changed_slots(what, rule, definition)
    if isinstance(rule, Redraw) and rule.mention is not None:
        _check_mentions(what, [(slot, rule.mention) for slot in rule.slots], templates)
    _check_changes(what, changed, templates)


def _check_changes(what: str, changed: set[str], templates: Sequence[Template]) -> None:
    for template in templates:
        if not any(slot in changed for slot, _ in template.mentions):
            raise TaskError(
                f"{what} changes nothing in template {template.name!r}; wanted one of its slots "
                f"among {', '.join(sorted(changed))}. Change the template or the rule."
            )


def _check_mentions(what: str, mentions: Sequence[Mention], templates: Sequence[Template]) -> None:
    """Every template must have them."""
    for slot, mention in mentions:
        for template in templates:
            if (slot, mention) not in template.mentions:
                raise TaskError(
                    f"{what} changes mention {mention} of slot {slot!r}, which template {template.name!r} does not "
                    "have. Change the mention or the template."
                )


def _check_copies(what: str, rule: CopySlots, definition: TaskDefinition, templates: Sequence[Template]) -> None:
    slots = known_slots(definition)
    for change in rule.changes:
        known(change.slot, slots, f"{what} changes the slot")
        known(change.source, slots, f"{what} copies the slot")
        if change.slot == change.source:
            raise TaskError(f"{what} copies slot {change.slot!r} to itself; wanted another slot in `from`. Change it.")
        _check_mentions(what, [(change.slot, change.mention)], templates)
        _check_mentions(what.replace("changes", "copies"), [(change.source, 1)], templates)


def _changed_slots(what: str, rule: Redraw | RandomElements | SetSlots | Shift, definition: TaskDefinition) -> set[str]:
    """The slots that a rule changes, each of a kind that it can change."""
    match rule:
        case Redraw():
            for name in rule.slots:
                known(name, definition.slots, f"{what} redraws the list or number slot")
                _check_choice(what, name, definition)
            return set(rule.slots)
        case SetSlots():
            for name in rule.values:
                known(name, known_slots(definition), f"{what} sets the slot")
            return set(rule.values)
        case RandomElements():
            return _changed_elements(what, rule, definition)
        case Shift():
            if definition.sequence is None:
                raise TaskError(f"{what} is 'shift' and the task has no sequence; add one.")
            if len(set(definition.sequence.starts)) < 2:
                raise TaskError(f"{what} shifts the sequence, which has one start only; add another to `starts`.")
            return set(definition.sequence.slots)
    assert_never(rule)


def _check_choice(what: str, name: str, definition: TaskDefinition) -> None:
    """There must be another word or number to draw."""
    slot = definition.slots[name]
    n = slot.high - slot.low + 1 if isinstance(slot, IntegerSlot) else len(definition.lists[slot.list])
    if n < 2:
        raise TaskError(f"{what} redraws slot {name!r}, which can hold one value only; give it more.")


def _changed_elements(what: str, rule: RandomElements, definition: TaskDefinition) -> set[str]:
    if definition.sequence is None:
        raise TaskError(f"{what} is 'random-elements' and the task has no sequence; add one.")
    for name in rule.slots:
        known(name, definition.sequence.slots, f"{what} changes the sequence slot")
    if len(definition.lists[definition.sequence.list]) < 3:
        raise TaskError("Random elements need a list of at least 3; add elements to the sequence's list.")
    return set(rule.slots)
