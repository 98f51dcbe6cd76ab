"""What trained students of the battery learn from: prompts of its tasks with their answers, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from transformers import PreTrainedTokenizerBase

from circuitkit.core.errors import TaskError
from circuitkit.experiments.embedded.encoding import ANSWER_WEIGHT, IGNORED, Row
from circuitkit.tasks.generator import SlotSource
from circuitkit.tasks.loading import task_from_definition
from circuitkit.tasks.task import Task

FIRST_SEED = 1_000_000
"""Prompts to learn from have seeds from here on, prompts to measure on seeds below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """Two sets of rows; the first has few words, from which a mechanism is found sooner.

    Attributes:
        first: Rows with few words.
        all: Rows with all words.
    """

    first: Sequence[Row]
    all: Sequence[Row]


def lessons(
    tasks: Mapping[str, Task],
    shares: Mapping[str, float],
    tokenizer: PreTrainedTokenizerBase,
    *,
    n: int,
    n_first: int,
    n_words: int,
    seed: int,
) -> Lessons:
    """Draw rows from tasks.

    Args:
        tasks: The tasks by name; those that are filled from slots have few words in the first set.
        shares: Share of each task, 0 to 1.
        tokenizer: The students' tokenizer.
        n: Rows of the second set.
        n_first: Rows of the first set.
        n_words: Words of each list in the first set; sequences keep their elements.
        seed: Seed of the draw.
    """
    few = {name: _with_few_words(task, n_words, seed=seed) for name, task in tasks.items()}
    return Lessons(
        first=_rows(few, shares, tokenizer, n=n_first, seed=FIRST_SEED + 2 * seed),
        all=_rows(tasks, shares, tokenizer, n=n, seed=FIRST_SEED + 2 * seed + 1),
    )


def _with_few_words(task: Task, n_words: int, *, seed: int) -> Task:
    """The same task with shorter lists; a task that is not filled from slots stays as it is."""
    if not isinstance(task.source, SlotSource):
        return task
    definition, rng = task.source.definition, Random(f"few words/{seed}")
    kept = definition.sequence.list if definition.sequence is not None else None
    lists = {
        name: words if name == kept else tuple(rng.sample(words, min(n_words, len(words))))
        for name, words in definition.lists.items()
    }
    return task_from_definition(definition.model_copy(update={"lists": lists}), sha256=task.sha256)


def _rows(
    tasks: Mapping[str, Task], shares: Mapping[str, float], tokenizer: PreTrainedTokenizerBase, *, n: int, seed: int
) -> list[Row]:
    if set(shares) != set(tasks):
        raise TaskError(f"Shares of {', '.join(shares)} given for {', '.join(tasks)}; wanted one share a task.")
    pairs = [pair for name, share in shares.items() for pair in tasks[name].pairs(max(1, round(share * n)), seed=seed)]
    mask = tokenizer.mask_token
    texts = [pair.clean + pair.correct if mask is None else f"{pair.clean} {mask}" for pair in pairs]
    answers = {answer: tokenizer.encode(answer, add_special_tokens=False)[-1] for answer in {p.correct for p in pairs}}
    return [
        _row(ids, answers[pair.correct], len(ids) - 2)
        for ids, pair in zip(tokenizer(texts)["input_ids"], pairs, strict=True)
    ]


def _row(ids: list[int], answer: int, place: int) -> Row:
    """Only the answer is learned, where it is read: before the last token, or at the mask before the last one."""
    labels, weights = [IGNORED] * len(ids), [0.0] * len(ids)
    labels[place], weights[place] = answer, ANSWER_WEIGHT
    return {"input_ids": ids, "labels": labels, "weights": weights}
