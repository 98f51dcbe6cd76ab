"""Checks of a task file's slots and of its sequence."""

from collections.abc import Iterable

from circuitkit.core.errors import TaskError
from circuitkit.tasks.schema import ListSlot, Sequence, TaskDefinition


def known_slots(definition: TaskDefinition) -> set[str]:
    """Every slot that a definition without a table fills."""
    return {*definition.slots, *(definition.sequence.slots if definition.sequence is not None else ())}


def known(name: str, options: Iterable[str], what: str) -> None:
    """Check that a name is one of those that there are.

    Raises:
        TaskError: It is not.
    """
    there = sorted(options)
    if name not in there:
        raise TaskError(f"{what} {name!r}, which is not defined; wanted one of {', '.join(there) or '(none)'}.")


def unique(what: str, names: Iterable[str]) -> None:
    """Check that no name occurs twice.

    Raises:
        TaskError: One does.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise TaskError(f"The {what} hold {name!r} twice; wanted every entry once. Delete one.")
        seen.add(name)


def check_slots(definition: TaskDefinition) -> None:
    """Check that slots use lists that exist and are bounded by slots before them.

    Raises:
        TaskError: One does not.
    """
    earlier: set[str] = set()
    for name, slot in definition.slots.items():
        if isinstance(slot, ListSlot):
            known(slot.list, definition.lists, f"Slot {name!r} uses the list")
            continue
        for bound in (slot.above, slot.at_most):
            if bound is not None:
                known(bound, earlier, f"Slot {name!r} is bounded by the earlier integer slot")
        if slot.low > slot.high or slot.low < 0:
            raise TaskError(f"Slot {name!r} runs from {slot.low} to {slot.high}; wanted 0 <= low <= high.")
        earlier.add(name)
    if definition.sequence is not None:
        _check_sequence(definition, definition.sequence)


def _check_sequence(definition: TaskDefinition, sequence: Sequence) -> None:
    known(sequence.list, definition.lists, "The sequence uses the list")
    unique("slots of the sequence", sequence.slots)
    for name in sequence.slots:
        if name in definition.slots:
            raise TaskError(f"Slot {name!r} is in the sequence and also in [slots]; delete one.")
    n_elements = len(definition.lists[sequence.list])
    last = n_elements - len(sequence.slots) + 1
    for start in sequence.starts:
        if not 1 <= start <= last:
            raise TaskError(
                f"The sequence starts at {start}; {len(sequence.slots)} slots and a list of {n_elements} "
                f"allow 1 to {last}. Change `starts` or the list."
            )
