"""What a task file must satisfy beyond its schema: names that are used exist, and the parts go together."""

from circuitkit.core.errors import TaskError
from circuitkit.tasks.check_changes import check_change
from circuitkit.tasks.check_slots import check_slots, known, known_slots, unique
from circuitkit.tasks.schema import TaskDefinition
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
    if definition.corruption is not None:
        check_change("The corruption", definition.corruption, definition, templates)
    for name, rule in definition.counterfactuals.items():
        check_change(f"The counterfactual {name!r}", rule, definition, templates)


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
