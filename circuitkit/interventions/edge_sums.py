"""First-order effects of every edge summed over the prompts of a batch, shard by shard."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.edge import EdgeSpace
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.memory import is_out_of_memory
from circuitkit.core.progress import Progress
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.clean_run import run_clean
from circuitkit.interventions.edge_attribution import EdgeAttribution, Scores
from circuitkit.interventions.engine import PROMPTS_PER_SHARD
from circuitkit.interventions.metric import Metric
from circuitkit.interventions.replacement import Replacement
from circuitkit.interventions.row_budget import (
    SHARE_OF_FREE_MEMORY,
    BatchSize,
    RowBudget,
    free_memory,
)
from circuitkit.interventions.rows import shards, take
from circuitkit.interventions.window import AtAnswer
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

EdgeSums = dict[str, Float[Tensor, "receiver sender"]]
"""`sum` and `squares` over prompts, float64."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EdgeEstimation:
    """A model, its prompts, and what is estimated of them.

    Attributes:
        model: The model.
        batch: The prompts.
        metric: What is differentiated.
        scores: Which gradients are taken.
        values: Makes the replacements when they are needed.
        batch_size: Prompts run together.
    """

    model: HookedModel
    batch: PromptBatch
    metric: Metric
    scores: Callable[[EdgeAttribution], Scores]
    values: Callable[[], Replacement]
    batch_size: BatchSize

    def sums(self, *, store: ShardStore | None, stage: str, progress: Progress) -> EdgeSums:
        """Run all prompts.

        Args:
            store: Where finished shards are kept and found again.
            stage: Name of this work in progress reports.
            progress: Called as prompts are done; what several have done in part counts as whole ones.

        Raises:
            OptionError: Memory is short for one prompt, or the batch size is not positive.
            ModelError: Scores are not finite.
        """
        limit = self._rows_at_once()
        total, done, n_prompts = self._nothing(), 0, len(self.batch.pairs)
        for number, rows in enumerate(shards(self.batch, PROMPTS_PER_SHARD)):
            found = store.load(f"{number:05d}") if store else None
            if found is None:
                found = self._shard(rows, limit, partial(_count, progress, stage, done, n_prompts))
                if store:
                    store.save(f"{number:05d}", found)
            total = {name: total[name] + found[name] for name in total}
            done += len(rows)
            progress(stage, done, n_prompts)
        return total

    def _nothing(self) -> EdgeSums:
        space = EdgeSpace(self.model.info.n_layers, self.model.info.n_heads)
        return {name: torch.zeros(space.possible.shape, dtype=torch.float64) for name in ("sum", "squares")}

    def _shard(self, rows: Int[Tensor, " row"], limit: int, report: Callable[[float], None]) -> EdgeSums:
        """As many prompts at a time as fit: halves where they are too many; reports how many prompts are done."""
        if len(rows) <= limit:
            try:
                scores = self._scores(rows, lambda share: report(share * len(rows)))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(rows) == 1:
                    raise OptionError(
                        f"Out of memory on {self.model.device} with the gradients of {self.model.info.name!r} on one "
                        "prompt; use --dtype bfloat16, shorter prompts, or a device with more memory."
                    ) from error
            else:
                return {"sum": scores.sum(0), "squares": scores.square_().sum(0)}
        total, done = self._nothing(), 0
        for half in rows.tensor_split(2):
            found = self._shard(half, limit, partial(_further, report, done))
            total = {name: total[name] + found[name] for name in total}
            done += len(half)
        return total

    def _scores(
        self, rows: Int[Tensor, " row"], report: Callable[[float], None]
    ) -> Float[Tensor, "row receiver sender"]:
        model, taken = self.model, take(self.batch.clean, rows, self.model)
        answers = torch.stack([self.batch.correct_ids[rows], self.batch.incorrect_ids[rows]], 1)

        def logits(resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row logit"]:
            if self.metric.whole_vocabulary:
                return model.family.unembed(model.raw, resid)
            return model.family.unembed_tokens(model.raw, resid, answers)

        clean = run_clean(model, taken)
        with torch.no_grad():
            intact = logits(AtAnswer(positions=taken.answer_pos).of(clean.resid)[:, 0])

        def measure(resid: Float[Tensor, "row d_model"]) -> Float[Tensor, " row"]:
            return self.metric.measure(logits(resid)[None], intact, answers)[0]

        values = self.values()(rows, taken.ids.shape[1])
        scores = self.scores(EdgeAttribution(model, taken, clean, values, measure, report=report)).cpu().double()
        if not bool(scores.isfinite().all()):
            raise ModelError(
                f"Gradients of {model.info.name!r} are not finite numbers in {model.dtype}; try --dtype float32."
            )
        return scores

    def _rows_at_once(self) -> int:
        asked = RowBudget(self.model, self.batch_size).rows(1)
        if self.batch_size != "auto":
            return asked
        per_row = _bytes_of_a_row(self.model, self.batch.clean.ids.shape[1])
        fitting = int(SHARE_OF_FREE_MEMORY * free_memory(self.model.device)) // per_row
        return max(1, min(PROMPTS_PER_SHARD, fitting))


def _bytes_of_a_row(model: HookedModel, length: int) -> int:
    """Memory that one prompt's gradients take, roughly."""
    info, size, wide = model.info, torch.finfo(model.dtype).bits // 8, 4
    space = EdgeSpace(info.n_layers, info.n_heads)
    width = info.n_heads * info.d_head
    graph = info.n_layers * (8 * info.d_model + 6 * width + 5 * info.d_mlp + 2 * info.n_heads * length)
    changes = len(space.senders) * info.d_model
    of_a_stage = 5 * 3 * info.n_heads * info.d_model
    scores = 4 * wide * len(space.senders) * len(space.receivers)
    return length * (size * graph + wide * (changes + of_a_stage)) + scores + 4 * wide * info.vocab_size


def _count(progress: Progress, stage: str, before: int, total: int, prompts: float) -> None:
    progress(stage, before + int(prompts), total)


def _further(report: Callable[[float], None], before: int, prompts: float) -> None:
    report(before + prompts)
