"""Run sets of edges of a model on a batch of prompts: shard by shard, within the memory there is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from math import ceil

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.core.edge import EdgeSpace
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.ablation import Ablation, parse_ablation
from circuitkit.interventions.edge_forward import EdgeForward
from circuitkit.interventions.edge_replay import EdgeReplay
from circuitkit.interventions.engine import PROMPTS_PER_SHARD
from circuitkit.interventions.metric import Metric, MetricName, parse_metric
from circuitkit.interventions.replacement import Replacement, fitting_replacement
from circuitkit.interventions.row_budget import BatchSize, RowBudget, is_out_of_memory
from circuitkit.interventions.rows import shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

OPERATIONS_A_SECOND = {"cpu": 5e10, "cuda": 2e13, "mps": 2e12}
SECONDS_A_BLOCK = 1.5e-3
SHARE_COMPUTED = 0.3
"""Rough: of a replay's operations, of what it takes to start those of one block, and of the model that it computes.
They only decide how many sets are tried at a time in vain or not, never what is found."""

Measured = dict[str, Float[Tensor, "circuit prompt"]]
"""By metric: a number for every circuit and prompt."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shard:
    rows: Int[Tensor, " row"]
    answers: Int[Tensor, "row 2"]
    tokens: Int[Tensor, "row token"] | None
    length: int
    forward: EdgeForward | EdgeReplay
    clean: Float[Tensor, "row logit"]


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
        self._shards = [self._shard(rows, self._forward(rows)) for rows in shards(batch, PROMPTS_PER_SHARD)]
        self.clean = self._measured_clean()

    def measuring(self, *metrics: MetricName | str) -> "CircuitRunner":
        """The same model and prompts with other metrics; what is prepared is shared.

        Raises:
            OptionError: A metric is unknown.
        """
        other = copy(self)
        other.metrics = tuple(parse_metric(metric) for metric in metrics)
        other._shards = [other._shard(shard.rows, shard.forward) for shard in self._shards]
        other.clean = other._measured_clean()
        return other

    @property
    def cost_of_one_more(self) -> float:
        """About how long one more set of edges takes, in units of what a run takes however few sets it has."""
        info, device = self.model.info, self.model.device.type
        per_token = info.n_layers * (4 * info.d_model * info.n_heads * info.d_head + 3 * info.d_model * info.d_mlp)
        tokens = sum(len(shard.rows) * shard.length for shard in self._shards)
        work = SHARE_COMPUTED * 2 * per_token * tokens / OPERATIONS_A_SECOND.get(device, 1e12)
        return work / (SECONDS_A_BLOCK * info.n_layers * len(self._shards))

    def _measured_clean(self) -> dict[str, Float[Tensor, " prompt"]]:
        found = self._measure(lambda shard: [(0, shard.clean[None])], 1)
        return {name: value[0] for name, value in found.items()}

    @property
    def _whole_vocabulary(self) -> bool:
        return any(metric.whole_vocabulary for metric in self.metrics)

    def _forward(self, rows: Int[Tensor, " row"]) -> EdgeForward | EdgeReplay:
        taken = take(self.batch.clean, rows, self.model)
        kind = EdgeForward if self._plain else EdgeReplay
        return kind(self.model, taken, self._values(rows, taken.ids.shape[1]))

    def _shard(self, rows: Int[Tensor, " row"], forward: EdgeForward | EdgeReplay) -> _Shard:
        answers = torch.stack([self.batch.correct_ids[rows], self.batch.incorrect_ids[rows]], 1)
        tokens = None if self._whole_vocabulary else answers.to(self.model.device)
        clean = forward.run(self.space.possible[None], tokens)[0]
        if not bool(clean.isfinite().all()):
            raise ModelError(
                f"{self.model.info.name!r} gives logits that are not finite numbers in {self.model.dtype}; its weights "
                "are too large for this number format or broken. Try --dtype float32."
            )
        return _Shard(
            rows=rows, answers=answers, tokens=tokens, length=forward.rows.ids.shape[1], forward=forward, clean=clean
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
        return self._measure(lambda shard: self._logits(shard, kept), len(kept))

    def _measure(self, logits: Callable[[_Shard], Iterable[tuple[int, Tensor]]], n_circuits: int) -> Measured:
        out = {metric.name: torch.zeros(n_circuits, len(self.batch.pairs)) for metric in self.metrics}
        for shard in self._shards:
            for start, some in logits(shard):
                for metric in self.metrics:
                    of = partial(self._seen_by, metric, shard)
                    value = metric.measure(of(some), of(shard.clean), shard.answers).cpu()
                    out[metric.name][start : start + len(some), shard.rows] = value
        return {str(name): value for name, value in out.items()}

    def _seen_by(
        self, metric: Metric, shard: _Shard, logits: Float[Tensor, "*circuit row logit"]
    ) -> Float[Tensor, "*circuit row seen"]:
        if metric.whole_vocabulary or not self._whole_vocabulary:
            return logits
        answers = shard.answers.to(logits.device)
        return logits.gather(-1, answers.expand(*logits.shape[:-1], 2))

    def _logits(self, shard: _Shard, kept: Bool[Tensor, "circuit receiver sender"]) -> Iterator[tuple[int, Tensor]]:
        """Logits of as many sets at a time as fit, with the number of the first of them."""
        start = 0
        while start < len(kept):
            at_once = max(1, self._budget.rows(shard.length) // len(shard.rows))
            left = len(kept) - start
            some = kept[start : start + ceil(left / ceil(left / at_once))]  # all of about one size
            try:
                logits = shard.forward.run(some, shard.tokens)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(some) == 1:
                    raise OptionError(
                        f"Out of memory on {self.model.device} with {self.model.info.name!r} on {len(shard.rows)} "
                        "prompts; give fewer prompts, --dtype bfloat16, or a device with more memory."
                    ) from error
                self._budget.halve()
                continue
            yield start, logits
            start += len(some)
