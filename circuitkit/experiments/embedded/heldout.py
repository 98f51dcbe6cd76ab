"""Which words and starts never occur in a training prompt."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from circuitkit.core.errors import TaskError
from circuitkit.tasks.generator import SlotSource
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.task import Task

SHARE = 0.1
SEQUENCES = ("numerals", "numwords", "months")
_Item = TypeVar("_Item", str, tuple[str, str, str])
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What the training prompts leave out.

    Attributes:
        words: Names and nouns that no training prompt holds (filler text does, so that they have embeddings).
        starts: (task, template, first element) of sequences, and (`greater-than`, century, year), left out.
    """

    words: frozenset[str]
    starts: frozenset[tuple[str, str, str]]

    def covers(self, task: str, pair: PromptPair) -> bool:
        """Whether a clean prompt holds anything that is left out of training."""
        return self.mentions(pair.clean) or _start(task, pair) in self.starts

    def mentions(self, text: str) -> bool:
        """Whether a text holds a word that is left out of training."""
        return not self.words.isdisjoint(_WORD.findall(text))


def choose_held_out(tasks: Mapping[str, Task], seed: int) -> HeldOut:
    """Hold out a tenth of the names, nouns and years, and one start of eight in every template of a sequence.

    The facts of `simpleqa` are all trained on: they can only be memorised.
    """
    rng = Random(f"held out/{seed}")
    lists = {name: word_lists(task) for name, task in tasks.items() if isinstance(task.source, SlotSource)}
    elements = {word for name in SEQUENCES for word in lists[name]["elements"]}
    nouns = set(lists["numerals"]["nouns"]) - elements
    names = (set(lists["ioi"]["names"]) | set(lists["numerals"]["names"])) - nouns - elements
    durations = set(lists["greater-than"]["nouns"])
    words = [word for pool in (names, nouns, durations) for word in _tenth(pool, rng)]
    starts = [("greater-than", str(c), f"{y:02d}") for c in range(11, 18) for y in range(2, 99)]
    held = _tenth(set(starts), rng)
    for name in SEQUENCES:
        for template in ("done", "lost", "names"):
            held.append((name, template, rng.choice(lists[name]["elements"][:8])))
    return HeldOut(words=frozenset(words), starts=frozenset(held))


def word_lists(task: Task) -> dict[str, tuple[str, ...]]:
    """The word lists of a task whose prompts are filled from slots.

    Raises:
        TaskError: The task's prompts come from a table or a file.
    """
    if not isinstance(task.source, SlotSource):
        raise TaskError(f"Task {task.name!r} has no word lists; wanted a task filled from slots.")
    return task.source.definition.lists


def _tenth(pool: set[_Item], rng: Random) -> list[_Item]:
    return rng.sample(sorted(pool), round(SHARE * len(pool)))


def _start(task: str, pair: PromptPair) -> tuple[str, str, str] | None:
    def said(label: str) -> str:
        begin, end = pair.labels[label]
        return pair.clean[begin:end]

    if task in SEQUENCES:
        return (task, pair.template, said("n1"))
    return (task, said("XX"), said("YY")) if task == "greater-than" else None
