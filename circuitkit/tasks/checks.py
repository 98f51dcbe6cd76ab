"""What a task file must satisfy beyond its schema: names that are used exist, and the parts go together."""

from collections.abc import Iterable

from circuitkit.core.errors import TaskError
from circuitkit.tasks.schema import (
    AnotherRow,
    ListSlot,
    RandomElements,
    Redraw,
    SetSlots,
    TaskDefinition,
)
from circuitkit.tasks.template import Template, parse_template


def check_definition(definition: TaskDefinition) -> None:
    """Check the parts of a definition against each other.

    Raises:
        TaskError: One of them names something that is not there, or they do not go together.
    """
    templates = [parse_template(t.name, t.text) for t in definition.templates]
    answers = [
        parse_template("answers.correct", definition.answers.correct),
        parse_template("answers.incorrect", definition.answers.incorrect),
    ]
    _unique("templates", (t.name for t in templates))
    for name, words in definition.lists.items():
        _unique(f"list {name!r}", words)
    if definition.answers.correct == definition.answers.incorrect:
        raise TaskError(
            f"answers.correct and answers.incorrect are both {definition.answers.correct!r}; change one."
        )
    _check_slots(definition)
    if definition.table is None:
        known = _known_slots(definition)
        for template in (*templates, *answers):
            for slot, _ in template.mentions:
                _known(slot, known, f"Template {template.name!r} uses the slot")
    elif definition.slots or definition.sequence is not None:
        raise TaskError(
            "A task has a table and also slots or a sequence; wanted one or the other. Delete one."
        )
    _check_labels(definition, templates)
    _check_corruption(definition, templates)


def _known_slots(definition: TaskDefinition) -> set[str]:
    return {*definition.slots, *(definition.sequence.slots if definition.sequence is not None else ())}


def _known(name: str, known: Iterable[str], what: str) -> None:
    options = sorted(known)
    if name not in options:
        raise TaskError(
            f"{what} {name!r}, which is not defined; wanted one of {', '.join(options) or '(none defined)'}."
        )


def _unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise TaskError(f"The {what} hold {name!r} twice; wanted every entry once. Delete one.")
        seen.add(name)


def _check_slots(definition: TaskDefinition) -> None:
    earlier: set[str] = set()
    for name, slot in definition.slots.items():
        if isinstance(slot, ListSlot):
            _known(slot.list, definition.lists, f"Slot {name!r} uses the list")
            continue
        for bound in (slot.above, slot.at_most):
            if bound is not None:
                _known(bound, earlier, f"Slot {name!r} is bounded by the earlier integer slot")
        if slot.low > slot.high or slot.low < 0:
            raise TaskError(f"Slot {name!r} runs from {slot.low} to {slot.high}; wanted 0 <= low <= high.")
        earlier.add(name)
    if (sequence := definition.sequence) is None:
        return
    _known(sequence.list, definition.lists, "The sequence uses the list")
    _unique("slots of the sequence", sequence.slots)
    for name in sequence.slots:
        if name in definition.slots:
            raise TaskError(f"Slot {name!r} is in the sequence and also in [slots]; delete one.")
    last = len(definition.lists[sequence.list]) - len(sequence.slots) + 1
    for start in sequence.starts:
        if not 1 <= start <= last:
            raise TaskError(
                f"The sequence starts at {start}; {len(sequence.slots)} slots and a list of "
                f"{len(definition.lists[sequence.list])} allow 1 to {last}. Change `starts` or the list."
            )


def _check_labels(definition: TaskDefinition, templates: list[Template]) -> None:
    for name, label in definition.labels.items():
        if not name.isidentifier() or name == "END":
            raise TaskError(f"A label is called {name!r}; wanted letters and digits, and not END. Rename it.")
        for template in templates:
            if (label.slot, label.mention) not in template.mentions:
                raise TaskError(
                    f"Label {name!r} is mention {label.mention} of slot {label.slot!r}, which template "
                    f"{template.name!r} does not have. Change the label or the template."
                )


def _check_corruption(definition: TaskDefinition, templates: list[Template]) -> None:
    rule = definition.corruption
    if rule is None:
        return
    if isinstance(rule, AnotherRow) != (definition.table is not None):
        raise TaskError(
            f"The corruption is {rule.kind!r} and the task has {'a' if definition.table else 'no'} table; wanted "
            f"'another-row' with a table and another kind without. Change the kind."
        )
    changed: tuple[str, ...] = ()
    match rule:
        case Redraw():
            changed = rule.slots
            for name in changed:
                lists = [slot for slot, kind in definition.slots.items() if isinstance(kind, ListSlot)]
                _known(name, lists, "The corruption redraws the list slot")
        case RandomElements():
            changed = rule.slots
            if definition.sequence is None:
                raise TaskError("The corruption is 'random-elements' and the task has no sequence; add one.")
            for name in changed:
                _known(name, definition.sequence.slots, "The corruption changes the sequence slot")
            if len(definition.lists[definition.sequence.list]) < 3:
                raise TaskError(
                    "Random elements need a list of at least 3; add elements to the sequence's list."
                )
        case SetSlots():
            changed = tuple(rule.values)
            for name in changed:
                _known(name, _known_slots(definition), "The corruption sets the slot")
        case AnotherRow():
            return
    for template in templates:
        if not any(slot in changed for slot, _ in template.mentions):
            raise TaskError(
                f"The corruption changes nothing in template {template.name!r}; wanted one of its slots among "
                f"{', '.join(changed)}. Change the template or the corruption."
            )
