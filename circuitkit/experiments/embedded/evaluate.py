"""What an embedded model can do, on prompts that it was trained near and on prompts that were held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import torch

from circuitkit.experiments.embedded.heldout import HeldOut
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.task import PairSource, Task

HELD_OUT_SEED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How a model does on one task.

    Attributes:
        n_prompts: Prompts measured.
        n_dropped: Prompts that the model's tokenizer cannot read.
        accuracy: Share of prompts whose right answer has a higher logit than the distractor.
        logit_diff: Mean difference of the two, in logits.
        top1: Share of prompts where the right answer is the model's first choice of all tokens.
    """

    n_prompts: int
    n_dropped: int
    accuracy: float
    logit_diff: float
    top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutSource:
    """Draws only prompts that hold something which was left out of training."""

    task: str
    source: PairSource
    held_out: HeldOut

    @property
    def size(self) -> int | None:
        """As many as there are to draw."""
        return self.source.size

    @property
    def redraws(self) -> bool:
        """As the task itself."""
        return self.source.redraws

    def numbers(self, n: int, *, seed: int) -> Sequence[int]:
        """As the task itself."""
        return self.source.numbers(n, seed=seed)

    def pair(self, index: int, *, seed: int, attempt: int) -> PromptPair:
        """The first covered pair of this number among those of seed, seed + 1000, seed + 2000, ..."""
        return next(
            found
            for turn in count()
            if self.held_out.covers(
                self.task, found := self.source.pair(index, seed=seed + 1000 * turn, attempt=attempt)
            )
        )


def held_out_task(task: Task, held_out: HeldOut) -> Task:
    """The same task, asking only what training left out."""
    return replace(task, source=HeldOutSource(task=task.name, source=task.source, held_out=held_out))


def measure(model: HookedModel, task: Task, *, n_prompts: int, seed: int) -> Figures:
    """Run the task's prompts through the model, as the product does."""
    batch = build_batch(task, model, n_prompts=n_prompts, seed=seed, need_corrupted=False)
    logits = model.answer_logits(batch.clean.ids, batch.clean.mask, batch.clean.answer_pos)
    rows = torch.arange(len(logits))
    differences = logits[rows, batch.correct_ids] - logits[rows, batch.incorrect_ids]
    return Figures(
        n_prompts=len(logits),
        n_dropped=len(batch.dropped),
        accuracy=(differences > 0).double().mean().item(),
        logit_diff=differences.double().mean().item(),
        top1=(logits.argmax(-1) == batch.correct_ids).double().mean().item(),
    )


def measure_all(
    model: HookedModel, tasks: Mapping[str, Task], held_out: HeldOut, *, n_prompts: int
) -> dict[str, dict[str, Figures | None]]:
    """Task -> figures on the product's `default` prompts and on `held_out` ones (None for `simpleqa`)."""
    return {
        name: {
            "default": measure(model, task, n_prompts=n_prompts, seed=0),
            "held_out": None
            if name == "simpleqa"
            else measure(model, held_out_task(task, held_out), n_prompts=n_prompts, seed=HELD_OUT_SEED),
        }
        for name, task in tasks.items()
    }
