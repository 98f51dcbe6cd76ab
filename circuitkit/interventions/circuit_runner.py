"""Run sets of edges of a model on a batch of prompts: shard by shard, within the memory there is."""

from collections.abc import Sequence
from copy import copy
from functools import partial
from math import ceil

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.core.edge import EdgeSpace
from circuitkit.core.errors import OptionError
from circuitkit.core.memory import is_out_of_memory
from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.ablation import Ablation, parse_ablation
from circuitkit.interventions.edge_forward import EdgeForward
from circuitkit.interventions.edge_replay import EdgeReplay
from circuitkit.interventions.engine import PROMPTS_PER_SHARD
from circuitkit.interventions.metric import MetricName, parse_metric
from circuitkit.interventions.prepared_prompts import PreparedPrompts
from circuitkit.interventions.replacement import Replacement, fitting_replacement
from circuitkit.interventions.row_budget import BatchSize, RowBudget, free_memory
from circuitkit.interventions.rows import shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

OPERATIONS_A_SECOND = {"cpu": 5e10, "cuda": 2e13, "mps": 2e12}
SECONDS_A_BLOCK = 1.5e-3
SHARE_COMPUTED = 0.3
"""Rough: of a replay's operations, of what it takes to start those of one block, and of the model that it computes.
They only decide how many sets are tried at a time in vain or not, never what is found."""

SHARE_KEPT = 0.2
"""Of the free memory: for writes of the clean run that are kept because they may be asked for again."""

Measured = dict[str, Float[Tensor, "circuit prompt"]]
"""By metric: a number for every circuit and prompt."""


class CircuitRunner:
    """A model and prompts, ready to be run with any sets of edges kept and the other edges corrupted.

    A set of nodes is a set of edges: everything that they write (`EdgeSpace.of_nodes`).

    Args:
        model: The model.
        batch: Prompts; results keep their order.
        source: What the edges carry that are not kept: an ablation, or its values.
        metrics: What is measured; see `METRICS`.
        batch_size: Rows (circuit x prompt) run at a time. Numbers differ by rounding only.
        plain: Compute everything in every run, by `EdgeForward`, as a check; it is slow.
        progress: Called while the replacement values are prepared.

    Raises:
        OptionError: The ablation cannot be done on this task, an option is unknown, or memory is short.
        ModelError: Logits are not finite.
    """

    def __init__(
        self,
        model: HookedModel,
        batch: PromptBatch,
        *,
        source: Ablation | str | Replacement = Ablation.CORRUPTED_MEAN,
        metrics: Sequence[MetricName | str] = ("logit_diff",),
        batch_size: BatchSize = "auto",
        plain: bool = False,
        progress: Progress = silent,
    ) -> None:
        self.model, self.batch, self._plain = model, batch, plain
        self.metrics = tuple(parse_metric(metric) for metric in metrics)
        self.space = EdgeSpace(model.info.n_layers, model.info.n_heads)
        self._budget = RowBudget(model, batch_size)
        self._values = (
            fitting_replacement(model, batch, parse_ablation(source), batch_size=batch_size, progress=progress)
            if isinstance(source, str)
            else source
        )
        at_once = min(PROMPTS_PER_SHARD, self._budget.rows(batch.clean.ids.shape[1]))
        parts = shards(batch, at_once)
        self._cache_bytes = int(SHARE_KEPT * free_memory(model.device)) // len(parts)
        self._shards = [shard for rows in parts for shard in self._prepared(rows)]
        self.clean = self._clean()

    def measuring(self, *metrics: MetricName | str) -> "CircuitRunner":
        """The same model and prompts with other metrics; what is prepared is shared.

        Raises:
            OptionError: A metric is unknown.
        """
        other = copy(self)
        other.metrics = tuple(parse_metric(metric) for metric in metrics)
        other._shards = [
            PreparedPrompts.of(self.batch, shard.rows, shard.forward, other.metrics) for shard in self._shards
        ]
        other.clean = other._clean()
        return other

    @property
    def cost_of_one_more(self) -> float:
        """About how long one more set of edges takes, in units of what a run takes however few sets it has."""
        info, device = self.model.info, self.model.device.type
        per_token = info.n_layers * (4 * info.d_model * info.n_heads * info.d_head + 3 * info.d_model * info.d_mlp)
        tokens = sum(len(shard.rows) * shard.length for shard in self._shards)
        work = SHARE_COMPUTED * 2 * per_token * tokens / OPERATIONS_A_SECOND.get(device, 1e12)
        return work / (SECONDS_A_BLOCK * info.n_layers * len(self._shards))

    def _clean(self) -> dict[str, Float[Tensor, " prompt"]]:
        out = {str(metric.name): torch.zeros(len(self.batch.pairs)) for metric in self.metrics}
        for shard in self._shards:
            for name, value in shard.measure().items():
                out[name][shard.rows] = value[0]
        return out

    def _prepared(self, rows: Int[Tensor, " row"]) -> list[PreparedPrompts]:
        """Prompts ready to run, in halves where memory is short."""
        kind = EdgeForward if self._plain else partial(EdgeReplay, cache_bytes=self._cache_bytes)
        try:
            taken = take(self.batch.clean, rows, self.model)
            forward = kind(self.model, taken, self._values(rows, taken.ids.shape[1]))
            return [PreparedPrompts.of(self.batch, rows, forward, self.metrics)]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise self._short_of_memory() from error
        # out of the handler, so that what the failed run held is free again
        return [shard for half in rows.tensor_split(2) for shard in self._prepared(half)]

    def _short_of_memory(self) -> OptionError:
        return OptionError(
            f"Out of memory on {self.model.device} with {self.model.info.name!r} on one prompt; give --dtype bfloat16, "
            "fewer or shorter prompts, or a device with more memory."
        )

    def run(self, kept: Bool[Tensor, "circuit receiver sender"]) -> Measured:
        """Measure some sets of edges, in the order of `EdgeSpace`.

        Args:
            kept: The sets; those that differ little from each other cost least together.

        Returns:
            By metric name, a number for every set and prompt, in the metric's unit.

        Raises:
            OptionError: Memory is short for one prompt.
        """
        out = {str(metric.name): torch.zeros(len(kept), len(self.batch.pairs)) for metric in self.metrics}
        if not len(kept):
            return out
        waiting, done = self._shards[::-1], list[PreparedPrompts]()
        while waiting:
            shard = waiting.pop()
            found = self._measured(shard, kept)
            if found is None:  # from now on these prompts are run in halves
                waiting += [part for half in shard.rows.tensor_split(2) for part in self._prepared(half)][::-1]
                continue
            done.append(shard)
            for name, value in found.items():
                out[name][:, shard.rows] = value
        self._shards = done
        return out

    def _measured(self, shard: PreparedPrompts, kept: Bool[Tensor, "circuit receiver sender"]) -> Measured | None:
        """As many sets at a time as fit; None where one set does not fit with all of these prompts."""
        parts: list[Measured] = []
        start = 0
        while start < len(kept):
            at_once = max(1, self._budget.rows(shard.length) // len(shard.rows))
            left = len(kept) - start
            some = kept[start : start + ceil(left / ceil(left / at_once))]  # all of about one size
            try:
                parts.append(shard.measure(some))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(some) == len(shard.rows) == 1:
                    raise self._short_of_memory() from error
                if len(some) == 1:
                    return None
                self._budget.halve()
                continue
            start += len(some)
        return {str(m.name): torch.cat([part[m.name] for part in parts]) for m in self.metrics}
