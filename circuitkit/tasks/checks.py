"""What a task file must satisfy beyond its schema: names that are used exist, and the parts go together."""

from circuitkit.core.errors import TaskError
from circuitkit.tasks.check_slots import check_slots, known, known_slots, unique
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
    unique("templates", (t.name for t in templates))
    for name, words in definition.lists.items():
        unique(f"list {name!r}", words)
    if definition.answers.correct == definition.answers.incorrect:
        raise TaskError(f"answers.correct and answers.incorrect are both {definition.answers.correct!r}; change one.")
    check_slots(definition)
    if definition.table is None:
        slots = known_slots(definition)
        for template in (*templates, *answers):
            for slot, _ in template.mentions:
                known(slot, slots, f"Template {template.name!r} uses the slot")
    elif definition.slots or definition.sequence is not None:
        raise TaskError("A task has a table and also slots or a sequence; wanted one or the other. Delete one.")
    _check_labels(definition, templates)
    _check_corruption(definition, templates)


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
            f"The corruption is {rule.kind!r} and the task has {'a' if definition.table else 'no'} table; "
            f"wanted 'another-row' with a table and another kind without. Change the kind."
        )
    if isinstance(rule, AnotherRow):
        return
    changed = _changed_slots(definition, rule)
    for template in templates:
        if not any(slot in changed for slot, _ in template.mentions):
            raise TaskError(
                f"The corruption changes nothing in template {template.name!r}; wanted one of its slots "
                f"among {', '.join(changed)}. Change the template or the corruption."
            )


def _changed_slots(definition: TaskDefinition, rule: Redraw | RandomElements | SetSlots) -> tuple[str, ...]:
    """The slots that a corruption changes, each of a kind that it can change."""
    if isinstance(rule, Redraw):
        lists = [slot for slot, kind in definition.slots.items() if isinstance(kind, ListSlot)]
        for name in rule.slots:
            known(name, lists, "The corruption redraws the list slot")
        return rule.slots
    if isinstance(rule, SetSlots):
        for name in rule.values:
            known(name, known_slots(definition), "The corruption sets the slot")
        return tuple(rule.values)
    if definition.sequence is None:
        raise TaskError("The corruption is 'random-elements' and the task has no sequence; add one.")
    for name in rule.slots:
        known(name, definition.sequence.slots, "The corruption changes the sequence slot")
    if len(definition.lists[definition.sequence.list]) < 3:
        raise TaskError("Random elements need a list of at least 3; add elements to the sequence's list.")
    return rule.slots
