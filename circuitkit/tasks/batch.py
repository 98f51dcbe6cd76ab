"""From a task's prompt pairs to the tokens that one model is measured on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from circuitkit.core.progress import Progress, silent
from circuitkit.tasks.grouping import group_prompts
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.reader_model import ReadsPrompts
from circuitkit.tasks.task import Task
from circuitkit.tasks.token_block import TokenBlock, stack_readings
from circuitkit.tasks.usable import Dropped, UsablePrompts, usable_prompts, without_uneven


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """Which task prompts are from; `sha256` is the hash of its definition and data."""

    name: str
    sha256: str


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
        label_starts: Label to position of the first token of its span; of END of the last word, or the mask token.
        dropped: The prompts that could not be used.
        notices: Plain facts, one line each, that a user must see.
        about_means: Those of them that matter only where means are taken over prompts.
        counterfactuals: Kind of counterfactual to the clean prompts changed by it, as wide as `clean`, each row with
            as many tokens as its clean prompt and its labels at the same positions; empty unless asked for.
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
    about_means: tuple[str, ...] = ()
    label_starts: Mapping[str, Int[Tensor, " prompt"]] = field(default_factory=dict)
    counterfactuals: Mapping[str, TokenBlock] = field(default_factory=dict)

    @property
    def n_even(self) -> int:
        """How many prompts are as long as their corrupted partner, in tokens."""
        lengths = self.clean.mask.sum(1)
        return 0 if self.corrupted is None else int((lengths == self.corrupted.mask.sum(1)).sum())


def build_batch(
    task: Task,
    model: ReadsPrompts,
    *,
    n_prompts: int = 384,
    seed: int = 0,
    need_corrupted: bool = True,
    counterfactuals: bool | Sequence[str] = False,
    least_even: int | None = None,
    progress: Progress = silent,
) -> PromptBatch:
    """Draw prompts from a task and tokenise them for a model.

    Args:
        task: The task.
        model: The model, of which only the tokenizer, the kind, the length limit and the number of tokens matter.
        n_prompts: How many prompts to draw; those that the model cannot read are dropped and counted.
        seed: Seed of the draw.
        need_corrupted: Whether every prompt needs its corrupted partner (it does not for the ablations `mean`
            and `zero`).
        counterfactuals: Whether every prompt needs its counterfactuals, of all kinds that the task names or of those
            given here. A kind that fewer than half of the prompts have in a form that the model reads with as many
            tokens is left out, with a notice; then prompts that lack one of the others are dropped and counted. Of a
            task that names no kinds, the corrupted prompts of equal length are the only kind, `corrupted`.
        least_even: Leave out prompts whose corrupted partner has another number of tokens, if at least so many others
            remain: one such prompt is enough to make a batch not positional. None keeps them.
        progress: Called as prompts are drawn and read.

    Raises:
        TaskError: Fewer than half of the prompts can be used, n_prompts is not positive, or counterfactuals are asked
            for that the task does not have.
        OptionError: A counterfactual kind is unknown.
        ModelError: The tokenizer cannot say where its tokens are in the text, or lacks a mask token.
    """
    found = usable_prompts(
        task,
        model,
        n_prompts=n_prompts,
        seed=seed,
        need_corrupted=need_corrupted,
        counterfactuals=counterfactuals,
        progress=progress,
    )
    if least_even is not None:
        (found,) = without_uneven(found, least=least_even)
    return assemble(found)


def assemble(prompts: UsablePrompts) -> PromptBatch:
    """Put prompts into tensors, group them, and say what is to be known about exactly these."""
    kept = prompts.kept
    clean = [row.clean for row in kept]
    corrupted = [row.corrupted for row in kept if row.corrupted is not None]
    width = max(len(reading.ids) for reading in (*clean, *corrupted))
    grouping = group_prompts(
        [row.pair.template for row in kept],
        [len(reading.ids) for reading in clean],
        [len(reading.ids) for reading in corrupted] if corrupted else None,
        positional=prompts.task.positional,
    )
    shared = [label for label in clean[0].labels if all(label in reading.labels for reading in clean)]
    return PromptBatch(
        task=TaskInfo(name=prompts.task.name, sha256=prompts.task.sha256),
        pairs=tuple(row.pair for row in kept),
        prompt_index=tuple(row.index for row in kept),
        clean=stack_readings(clean, width=width),
        corrupted=stack_readings(corrupted, width=width) if corrupted else None,
        correct_ids=torch.tensor([reading.correct_id for reading in clean]),
        incorrect_ids=torch.tensor([reading.incorrect_id for reading in clean]),
        group=grouping.group,
        positional=grouping.positional,
        label_positions={label: torch.tensor([reading.labels[label] for reading in clean]) for label in shared},
        dropped=prompts.dropped,
        notices=(*prompts.notices, *grouping.notices),
        about_means=grouping.notices,
        label_starts={label: torch.tensor([reading.starts[label] for reading in clean]) for label in shared},
        counterfactuals={
            kind: stack_readings([row.counterfactuals[kind] for row in kept], width=width) for kind in prompts.kinds
        },
    )
