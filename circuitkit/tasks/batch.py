"""From a task's prompt pairs to the tokens that one model is measured on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from circuitkit.core.errors import TaskError
from circuitkit.tasks.grouping import group_prompts, number_groups
from circuitkit.tasks.pair_reading import PairReader
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.reader_model import ReadsPrompts
from circuitkit.tasks.reading import PromptReader, Reading, Unusable
from circuitkit.tasks.task import Task
from circuitkit.tasks.token_block import TokenBlock, stack_readings


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """Which task prompts are from; `sha256` is the hash of its definition and data."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A prompt that could not be used: its number in the task, its text, and why."""

    index: int
    prompt: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptBatch:
    """Prompts as one model reads them, all on the CPU.

    Attributes:
        task: The task that they are from.
        pairs: The prompts and answers as text.
        prompt_index: Number of each prompt in the task, by which the prompts of two models are matched.
        clean: The clean prompts.
        corrupted: Their corrupted partners, as wide as `clean`; None if they were not asked for.
        correct_ids: Token of the right answer.
        incorrect_ids: Token of the distractor.
        group: Template group of equal token length, numbered from 0; clean and corrupted are equally long in it.
        positional: False where prompts cannot be grouped: means are over all positions but padding.
        label_positions: Label to position of the last token of its span in the clean prompt; END is the
            answer position.
        dropped: The prompts that could not be used.
        notices: Plain facts, one line each, that a user must see.
    """

    task: TaskInfo
    pairs: tuple[PromptPair, ...]
    prompt_index: tuple[int, ...]
    clean: TokenBlock
    corrupted: TokenBlock | None
    correct_ids: Int[Tensor, " prompt"]
    incorrect_ids: Int[Tensor, " prompt"]
    group: Int[Tensor, " prompt"]
    positional: bool
    label_positions: Mapping[str, Int[Tensor, " prompt"]]
    dropped: tuple[Dropped, ...]
    notices: tuple[str, ...]

    def select(self, rows: Sequence[int]) -> "PromptBatch":
        """The batch of some prompts, in the order given; groups are numbered anew."""
        at = torch.tensor(list(rows), dtype=torch.long)
        return replace(
            self,
            pairs=tuple(self.pairs[row] for row in rows),
            prompt_index=tuple(self.prompt_index[row] for row in rows),
            clean=self.clean.select(at),
            corrupted=None if self.corrupted is None else self.corrupted.select(at),
            correct_ids=self.correct_ids[at],
            incorrect_ids=self.incorrect_ids[at],
            group=number_groups(self.group[at].tolist()),
            label_positions={label: places[at] for label, places in self.label_positions.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    index: int
    pair: PromptPair
    clean: Reading
    corrupted: Reading | None


def build_batch(
    task: Task, model: ReadsPrompts, *, n_prompts: int = 384, seed: int = 0, need_corrupted: bool = True
) -> PromptBatch:
    """Draw prompts from a task and tokenise them for a model.

    Args:
        task: The task.
        model: The model, of which only the tokenizer, the kind, the length limit and the number of tokens matter.
        n_prompts: How many prompts to draw; those that the model cannot read are dropped and counted.
        seed: Seed of the draw.
        need_corrupted: Whether every prompt needs its corrupted partner (it does not for the ablations `mean`
            and `zero`).

    Raises:
        TaskError: Fewer than half of the prompts can be used, or n_prompts is not positive.
        ModelError: The tokenizer cannot say where its tokens are in the text, or lacks a mask token.
    """
    prompts = PromptReader(
        tokenizer=model.tokenizer,
        is_causal=model.is_causal,
        max_length=model.info.max_length,
        vocab_size=model.info.vocab_size,
    )
    reader = PairReader(prompts=prompts, need_corrupted=need_corrupted, equal=task.positional and not task.written)
    pairs = task.pairs(n_prompts, seed=seed, fits=reader.fits if need_corrupted else None, alike=prompts.alike)
    kept: list[_Kept] = []
    dropped: list[Dropped] = []
    for index, pair in enumerate(pairs):
        found = reader.read(pair)
        if isinstance(found, Unusable):
            dropped.append(Dropped(index=index, prompt=pair.clean, reason=found.reason))
        else:
            kept.append(_Kept(index=index, pair=pair, clean=found[0], corrupted=found[1]))
    _check_enough(task, len(kept), dropped)
    return _assemble(task, kept, dropped, n_prompts)


def _check_enough(task: Task, n_kept: int, dropped: Sequence[Dropped]) -> None:
    total = n_kept + len(dropped)
    if 2 * n_kept >= total:
        return
    reason, count = Counter(drop.reason for drop in dropped).most_common(1)[0]
    raise TaskError(
        f"Only {n_kept} of {total} prompts of task {task.name!r} can be used with this model; wanted at least half. "
        f"The commonest reason ({count} prompts): {reason}. Use another task or change its prompts."
    )


def _assemble(task: Task, kept: Sequence[_Kept], dropped: Sequence[Dropped], n_asked: int) -> PromptBatch:
    clean = [row.clean for row in kept]
    corrupted = [row.corrupted for row in kept if row.corrupted is not None]
    width = max(len(reading.ids) for reading in (*clean, *corrupted))
    grouping = group_prompts(
        [row.pair.template for row in kept],
        [len(reading.ids) for reading in clean],
        [len(reading.ids) for reading in corrupted] if corrupted else None,
        positional=task.positional,
    )
    shared = [label for label in clean[0].labels if all(label in reading.labels for reading in clean)]
    return PromptBatch(
        task=TaskInfo(name=task.name, sha256=task.sha256),
        pairs=tuple(row.pair for row in kept),
        prompt_index=tuple(row.index for row in kept),
        clean=stack_readings(clean, width=width),
        corrupted=stack_readings(corrupted, width=width) if corrupted else None,
        correct_ids=torch.tensor([reading.correct_id for reading in clean]),
        incorrect_ids=torch.tensor([reading.incorrect_id for reading in clean]),
        group=grouping.group,
        positional=grouping.positional,
        label_positions={label: torch.tensor([reading.labels[label] for reading in clean]) for label in shared},
        dropped=tuple(dropped),
        notices=(*_notices(kept, dropped, n_asked), *grouping.notices),
    )


def _notices(kept: Sequence[_Kept], dropped: Sequence[Dropped], n_asked: int) -> tuple[str, ...]:
    found: list[str] = []
    total = len(kept) + len(dropped)
    if total < n_asked:
        found.append(f"{n_asked} prompts were asked for and the task has {total}.")
    if dropped:
        reason, count = Counter(drop.reason for drop in dropped).most_common(1)[0]
        found.append(f"{len(dropped)} of {total} prompts were left out; the commonest reason ({count}): {reason}.")
    unknown = sum(row.clean.n_unknown > 0 for row in kept)
    if unknown:
        found.append(f"{unknown} of {len(kept)} prompts hold words that the tokenizer does not know.")
    return tuple(found)
