"""Draw the values of a prompt's slots."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random

from circuitkit.core.errors import TaskError
from circuitkit.tasks.schema import IntegerSlot, ListSlot, TaskDefinition
from circuitkit.tasks.task import Alike


def stream(seed: int, index: int, purpose: str) -> Random:
    """The random numbers of one purpose for one prompt: they depend on nothing but these three."""
    return Random(f"{seed}/{index}/{purpose}")


@lru_cache(maxsize=16)
def pick_order(seed: int, n: int, purpose: str) -> tuple[int, ...]:
    """A random order of 0..n-1 that depends on the seed and the purpose only."""
    order = list(range(n))
    Random(f"{seed}/{purpose}").shuffle(order)
    return tuple(order)


def draw_slots(definition: TaskDefinition, used: Sequence[str], rng: Random) -> dict[str, str]:
    """Values of the slots and of the sequence, in the order of the file.

    Args:
        definition: The task.
        used: The slots that the template and the answers mention. Only they are drawn, so that a template
            which leaves a slot out does not use up a word of its list.
        rng: Where the randomness comes from.
    """
    wanted = _with_bounds(definition, set(used))
    values: dict[str, str] = {}
    taken: dict[str, set[str]] = {}
    for name, slot in definition.slots.items():
        if name not in wanted:
            continue
        if isinstance(slot, ListSlot):
            values[name] = draw_other(definition.lists[slot.list], taken.setdefault(slot.list, set()), rng)
            taken[slot.list].add(values[name])
        else:
            values[name] = _draw_integer(name, slot, values, rng)
    if definition.sequence is not None:
        elements = definition.lists[definition.sequence.list]
        start = rng.choice(definition.sequence.starts) - 1
        values |= {slot: elements[start + i] for i, slot in enumerate(definition.sequence.slots)}
    return values


def draw_other(words: Sequence[str], avoid: set[str], rng: Random) -> str:
    """A word of a list that is none of `avoid`.

    Raises:
        TaskError: Every word is to be avoided.
    """
    left = [word for word in words if word not in avoid]
    if not left:
        raise TaskError(f"A list of {len(words)} words is too short for the slots drawn from it; add words to it.")
    return rng.choice(left)


def narrow(words: Sequence[str], old: str, avoid: set[str], alike: Alike | None) -> Sequence[str]:
    """The words that may well replace an old one; all of them if none is left otherwise."""
    if alike is None:
        return words
    return [word for word in words if word not in avoid and alike(old, word)] or words


def _with_bounds(definition: TaskDefinition, used: set[str]) -> set[str]:
    """The used slots and those that bound them."""
    wanted = set(used)
    for name, slot in reversed(definition.slots.items()):
        if name in wanted and isinstance(slot, IntegerSlot):
            wanted |= {bound for bound in (slot.above, slot.at_most) if bound is not None}
    return wanted


def _limits(name: str, slot: IntegerSlot, values: Mapping[str, str]) -> tuple[int, int]:
    low = slot.low if slot.above is None else max(slot.low, int(values[slot.above]) + 1)
    high = slot.high if slot.at_most is None else min(slot.high, int(values[slot.at_most]))
    if low > high:
        raise TaskError(f"Slot {name!r} has no whole number left between {low} and {high}; widen its low and high.")
    return low, high


def whole_numbers(name: str, slot: IntegerSlot, values: Mapping[str, str]) -> list[str]:
    """All that a slot may hold beside the values of the slots before it.

    Raises:
        TaskError: There is no such number.
    """
    low, high = _limits(name, slot, values)
    return [f"{number:0{slot.digits}d}" for number in range(low, high + 1)]


def _draw_integer(name: str, slot: IntegerSlot, values: Mapping[str, str], rng: Random) -> str:
    low, high = _limits(name, slot, values)
    return f"{rng.randint(low, high):0{slot.digits}d}"
