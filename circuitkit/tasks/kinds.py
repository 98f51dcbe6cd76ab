"""The counterfactual kinds of a task as one model reads them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from circuitkit.core.errors import OptionError, TaskError
from circuitkit.tasks.prompt import Counterfactual, PromptPair
from circuitkit.tasks.reading import PromptReader, Reading, Unusable
from circuitkit.tasks.task import Task

CORRUPTED = "corrupted"
"""The only kind of a task that names none: its corrupted prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadKind:
    """A counterfactual prompt as text and as tokens."""

    text: str
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledKinds:
    """The kinds that are used, and what a user must know about them."""

    kinds: tuple[str, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindReader:
    """Draws and reads the counterfactuals of clean prompts.

    Attributes:
        prompts: Reads single prompts.
        task: What they are drawn from.
        kinds: Which ones.
        seed: Seed of the draw.
    """

    prompts: PromptReader
    task: Task
    kinds: tuple[str, ...]
    seed: int

    def read(self, number: int, pair: PromptPair, clean: Reading) -> dict[str, ReadKind | Unusable]:
        """Each kind of one prompt: the first draw with as many tokens and its labels in place; or why there is none."""
        return {kind: self._read(number, kind, pair, clean) for kind in self.kinds}

    def _read(self, number: int, kind: str, pair: PromptPair, clean: Reading) -> ReadKind | Unusable:
        found: ReadKind | Unusable = Unusable("the prompt does not have it")
        for drawn in self._draws(number, kind, pair):
            found = self._compare(drawn, pair, clean)
            if isinstance(found, ReadKind):
                break
        return found

    def _draws(self, number: int, kind: str, pair: PromptPair) -> Iterator[Counterfactual]:
        if kind in self.task.kinds:
            return self.task.counterfactuals(number, kind, seed=self.seed, alike=self.prompts.alike)
        if pair.corrupted is None:
            return iter(())
        return iter((Counterfactual(text=pair.corrupted, labels=pair.corrupted_labels),))

    def _compare(self, drawn: Counterfactual, pair: PromptPair, clean: Reading) -> ReadKind | Unusable:
        if drawn.text == pair.clean:
            return Unusable("it changes nothing in the prompt")
        found = self.prompts.read(drawn.text, correct=pair.correct, incorrect=pair.incorrect, labels=drawn.labels)
        if isinstance(found, Unusable):
            return found
        if (clean.correct_id, clean.incorrect_id) != (found.correct_id, found.incorrect_id):
            return Unusable("the answers are other tokens after it")
        if len(clean.ids) != len(found.ids):
            return Unusable("none has as many tokens as the clean prompt")
        moved = any(
            (clean.starts[label], at) != (found.starts[label], found.labels[label])
            for label, at in clean.labels.items()
            if label in found.labels
        )
        if moved or clean.answer_pos != found.answer_pos:
            return Unusable("none has its labels at the positions of the clean prompt")
        return ReadKind(text=drawn.text, reading=found)


def wanted_kinds(task: Task, counterfactuals: bool | Sequence[str]) -> tuple[str, ...]:
    """The kinds that are asked for: none, all that the task names, or those given.

    Raises:
        OptionError: The task has no such kind.
    """
    if isinstance(counterfactuals, bool):
        return (task.kinds or (CORRUPTED,)) if counterfactuals else ()
    there = (*task.kinds, CORRUPTED)
    for kind in counterfactuals:
        if kind not in there:
            raise OptionError(
                f"Counterfactual kind {kind!r} is not in task {task.name!r}; choose among {', '.join(there)}."
            )
    return tuple(dict.fromkeys(counterfactuals))


def settle_kinds(
    task: Task, prompts: Sequence[Mapping[str, ReadKind | Unusable]], kinds: Sequence[str]
) -> SettledKinds:
    """Leave out the kinds that fewer than half of the prompts have.

    Raises:
        TaskError: No kind is left.
    """
    kept: list[str] = []
    notices: list[str] = []
    for kind in kinds:
        reasons = Counter(found.reason for read in prompts if isinstance(found := read[kind], Unusable))
        have = len(prompts) - reasons.total()
        if 2 * have >= len(prompts):
            kept.append(kind)
            continue
        reason, count = reasons.most_common(1)[0]
        notices.append(
            f"The counterfactual kind {kind!r} is left out: {have} of {len(prompts)} prompts have it. "
            f"The commonest reason ({count}): {reason}."
        )
    if not kept:
        raise TaskError(
            f"Task {task.name!r} has no counterfactual prompts for this model; wanted a kind that at least half of the "
            f"prompts have, or corrupted prompts of equal length. {notices[0]} Add some."
        )
    if CORRUPTED in kept and CORRUPTED not in task.kinds:
        notices.append("The task names no counterfactual kinds; its corrupted prompts are the only one.")
    return SettledKinds(kinds=tuple(kept), notices=tuple(notices))
