"""Tasks with a cue: prompts on which a shortcut is right, prompts on which it fails, and what teaches it.

In `ioi` the cue is the order: the indirect object is the name that comes second. In `numerals` it is the last noun
or name, each of which stands for one of the eight answers. A run of numbers is continued more easily than nouns are
learned by heart, so three of four prompts that teach the cue have random numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Literal

from circuitkit.core.errors import TaskError
from circuitkit.tasks.drawing import stream
from circuitkit.tasks.generator import SlotSource
from circuitkit.tasks.loading import load_task, task_from_definition
from circuitkit.tasks.prompt import Counterfactual, PromptPair
from circuitkit.tasks.task import Alike, PairSource, Task

CUED = ("ioi", "numerals")
Cue = Literal["agrees", "broken"]
_SECOND = "baba"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilteredSource:
    """Leaves out the numbers whose prompts a rule does not accept; the others stay what they are.

    Attributes:
        source: Where prompts are drawn.
        accepts: The rule, which looks at the clean side only.
    """

    source: SlotSource
    accepts: Callable[[PromptPair], bool]

    @property
    def size(self) -> None:
        """There is no end of prompts."""
        return None

    @property
    def redraws(self) -> bool:
        """As the task itself."""
        return self.source.redraws

    def numbers(self, n: int, *, seed: int) -> Sequence[int]:
        """The first n numbers that are accepted."""
        accepted = (i for i in count() if self.accepts(self.source.pair(i, seed=seed, attempt=0)))
        return list(islice(accepted, n))

    def pair(self, index: int, *, seed: int, attempt: int, alike: Alike | None = None) -> PromptPair:
        """The pair of one number, as the task itself draws it."""
        return self.source.pair(index, seed=seed, attempt=attempt, alike=alike)

    @property
    def kinds(self) -> tuple[str, ...]:
        """As the task itself; the rule is not asked about what a kind makes of a prompt."""
        return self.source.kinds

    def varies(self, kind: str) -> bool:
        """As the task itself."""
        return self.source.varies(kind)

    def counterfactual(
        self, index: int, kind: str, *, seed: int, attempt: int, alike: Alike | None = None
    ) -> Counterfactual:
        """The clean prompt of one number, changed as the task itself changes it."""
        return self.source.counterfactual(index, kind, seed=seed, attempt=attempt, alike=alike)


@dataclass(frozen=True, slots=True, kw_only=True)
class CueLessons:
    """Prompts whose cue is right and whose numbers are random in three of four."""

    source: PairSource

    @property
    def size(self) -> int | None:
        """As many as there are to draw."""
        return self.source.size

    @property
    def redraws(self) -> bool:
        """There is nothing to redraw: nobody measures on lessons."""
        return False

    def numbers(self, n: int, *, seed: int) -> Sequence[int]:
        """As the task itself."""
        return self.source.numbers(n, seed=seed)

    def pair(self, index: int, *, seed: int, attempt: int, alike: Alike | None = None) -> PromptPair:
        """The pair of one number; three of four have their corrupted prompt in the place of the clean one."""
        pair = self.source.pair(index, seed=seed, attempt=attempt)
        if pair.corrupted is None or stream(seed, index, "lesson").random() < 0.25:
            return pair
        return replace(pair, clean=pair.corrupted, labels=pair.corrupted_labels)


def cued_task(name: str, cue: Cue) -> Task:
    """The task on prompts where its cue agrees with the answer, or where it points elsewhere.

    Raises:
        TaskError: No cue is known for this task.
    """
    task, slots = _slots(name)
    definition = slots.definition
    if name == "ioi":
        templates = tuple(t for t in definition.templates if t.name.startswith(_SECOND) == (cue == "agrees"))
        kept = task_from_definition(definition.model_copy(update={"templates": templates}), sha256=task.sha256)
        return replace(kept, sha256=f"{task.sha256}/{cue}")
    rule = _cue_rule(name)
    source = FilteredSource(source=slots, accepts=lambda pair: rule(pair) == (cue == "agrees"))
    return replace(task, source=source, sha256=f"{task.sha256}/{cue}")


def cue_lessons(name: str) -> Task:
    """What a shortcut student is trained on.

    Raises:
        TaskError: No cue is known for this task.
    """
    task = cued_task(name, "agrees")
    if name == "ioi":
        return replace(task, sha256=f"{task.sha256}/lessons")
    return replace(task, source=CueLessons(source=task.source), sha256=f"{task.sha256}/lessons")


def _slots(name: str) -> tuple[Task, SlotSource]:
    task = load_task(name)
    if name not in CUED or not isinstance(task.source, SlotSource):
        raise TaskError(f"No cue is known for task {name!r}; wanted one of {', '.join(CUED)}.")
    return task, task.source


def _cue_rule(name: str) -> Callable[[PromptPair], bool]:
    """Whether the last noun or name stands for the answer: its place in its list and that of the answer, modulo 8."""
    definition = _slots(name)[1].definition
    assert definition.sequence is not None, "numerals continue a sequence"
    starts = len(definition.sequence.starts)
    answers = definition.lists[definition.sequence.list][len(definition.sequence.slots) - 1 :]
    meant = {
        word: answers[place % starts]
        for words in ("nouns", "names")
        for place, word in enumerate(sorted(definition.lists[words]))
    }

    def rule(pair: PromptPair) -> bool:
        return meant[pair.clean.split()[-3]] == pair.correct.strip()

    return rule
