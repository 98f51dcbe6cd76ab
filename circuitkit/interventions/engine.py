"""Run any list of interventions on a batch of prompts: shard by shard, exactly, within the memory there is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.memory import is_out_of_memory
from circuitkit.core.progress import Progress, Tally, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.ablation import Ablation, parse_ablation
from circuitkit.interventions.intervention import Intervention, check_fit
from circuitkit.interventions.metric import Metric, MetricName, parse_metric
from circuitkit.interventions.replacement import (
    Base,
    Replacement,
    Values,
    fitting_replacement,
    parse_base,
)
from circuitkit.interventions.replay import Replay
from circuitkit.interventions.row_budget import BatchSize, RowBudget
from circuitkit.interventions.rows import shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock

PROMPTS_PER_SHARD = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runs:
    """A metric with nothing replaced, and under every intervention.

    Attributes:
        clean: Per prompt.
        changed: Per intervention and prompt.
    """

    clean: Float[Tensor, " prompt"]
    changed: Float[Tensor, "intervention prompt"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    model: HookedModel
    batch: PromptBatch
    base: Base
    block: TokenBlock
    interventions: Sequence[Intervention]
    metric: Metric
    budget: RowBudget
    tally: Tally

    def cost(self, number: int) -> int:
        """Blocks that an intervention runs again on one prompt."""
        return self.model.info.n_layers - self.interventions[number].first_layer


def run_interventions(
    model: HookedModel,
    batch: PromptBatch,
    interventions: Sequence[Intervention],
    *,
    source: Ablation | str | Replacement,
    base: Base | str = "clean",
    metric: MetricName | str = "logit_diff",
    batch_size: BatchSize = "auto",
    store: ShardStore | None = None,
    stage: str = "sweep",
    progress: Progress = silent,
) -> Runs:
    """Measure interventions: ablation sets, per-row ablations, activation patching, noise; exactly, by replay.

    Args:
        model: The model.
        batch: Prompts; results keep their order.
        interventions: What is replaced in each run; see `replace_components` and `at_each_position`.
        source: What replaces it: an ablation, or a `Replacement` such as `noise(...)`. `resample` takes the
            activations of the prompt's own partner: activation patching.
        base: The prompts that run. `resample` into `clean` ones is noising, into `corrupted` ones denoising.
        metric: `logit_diff` (logits; unembeds two tokens), `kl` (nats, from the run with nothing replaced),
            `probability` (of the correct answer) or `top1` (1 where the correct answer is the most probable token).
        batch_size: Rows (intervention x prompt) run at a time; `auto` sizes them to the machine. Numbers differ by
            rounding only.
        store: Where finished shards are kept and found again.
        stage: Name of this work in progress reports.
        progress: Called before anything is run and whenever some interventions are done; units are block evaluations.
            Shards that are found count as done at once.

    Raises:
        OptionError: The ablation cannot be done on this task, an option is unknown, the model or the prompts have no
            place for an intervention, or memory is short for one row.
        ModelError: Logits are not finite.
    """
    base = parse_base(base)
    block = batch.clean if base == "clean" else batch.corrupted
    if block is None:
        raise OptionError(f"Task {batch.task.name!r} has no corrupted prompts to run on; give them.")
    check_fit(interventions, model.components, n_prompts=len(batch.pairs), length=block.ids.shape[1])
    ablation = parse_ablation(source) if isinstance(source, str) else None
    budget = RowBudget(model, batch_size)
    cost = sum(model.info.n_layers - i.first_layer for i in interventions)
    job = _Job(
        model=model,
        batch=batch,
        base=base,
        block=block,
        interventions=interventions,
        metric=parse_metric(metric),
        budget=budget,
        tally=Tally(progress, stage, cost * len(batch.pairs)),
    )
    values: Replacement | None = None if isinstance(source, str) else source
    clean = torch.zeros(len(batch.pairs))
    changed = torch.zeros(len(interventions), len(batch.pairs))
    left: list[tuple[str, Int[Tensor, " row"]]] = []
    for number, rows in enumerate(shards(batch, PROMPTS_PER_SHARD)):
        found = store.load(f"{number:05d}") if store else None
        if found is None:
            left.append((f"{number:05d}", rows))
            continue
        clean[rows], changed[:, rows] = found["clean"], found["ablated"]
    job.tally.add(cost * (len(batch.pairs) - sum(len(rows) for _, rows in left)))
    for name, rows in left:
        if values is None:
            assert ablation is not None
            values = fitting_replacement(model, batch, ablation, base=base, batch_size=batch_size, progress=progress)
        made = _prompts(job, rows, values)
        _check_finite(model, made)
        if store:
            store.save(name, made)
        clean[rows], changed[:, rows] = made["clean"], made["ablated"]
    return Runs(clean=clean, changed=changed)


def _prompts(job: _Job, rows: Int[Tensor, " row"], source: Replacement) -> dict[str, Tensor]:
    """Run some prompts; they are split where they are too many at a time or memory is short."""
    parts, before = _too_many(job, rows), job.tally.done
    if parts is None:
        try:
            return _together(job, rows, source)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise _short_of_memory(job.model) from error
    # out of the handler, so that what the failed run held is free again
    job.tally.back_to(before)
    parts = parts or rows.split((len(rows) + 1) // 2)
    done = [_prompts(job, part, source) for part in parts]
    return {name: torch.cat([part[name] for part in done], dim=-1) for name in ("clean", "ablated")}


def _too_many(job: _Job, rows: Int[Tensor, " row"]) -> Sequence[Int[Tensor, " _"]] | None:
    """Pieces of a shard that cannot run at once, or that would only pad each other while they take turns anyway."""
    lengths = job.block.mask[rows].sum(1)
    fit = job.budget.rows(int(lengths.max()))
    if len(rows) > fit:
        return rows.split(fit)
    alike = lengths.unique_consecutive(return_counts=True)[1].tolist()
    in_one_block = max(Counter(i.first_layer for i in job.interventions).values(), default=0)
    return rows.split(alike) if len(alike) > 1 and in_one_block * len(rows) > fit else None


def _together(job: _Job, rows: Int[Tensor, " row"], source: Replacement) -> dict[str, Tensor]:
    taken = take(job.block, rows, job.model)
    answers = torch.stack([job.batch.correct_ids[rows], job.batch.incorrect_ids[rows]], 1)
    tokens = None if job.metric.whole_vocabulary else answers.to(job.model.device)
    replay, values = Replay(job.model, taken), source(rows, taken.ids.shape[1])
    clean = replay.clean(tokens)
    changed = torch.zeros(len(job.interventions), len(rows))
    for stack in _stacks(job, replay, rows, values):
        start = 0
        while start < len(stack):
            at_once = max(1, job.budget.rows(taken.ids.shape[1]) // len(rows))
            left = len(stack) - start
            some = stack[start : start + ceil(left / ceil(left / at_once))]  # all of about one size
            logits = _fitting(replay, [unit for _, unit in some], values, tokens, alike=len(stack))
            if logits is None:
                job.budget.halve()
                continue
            numbers = [number for number, _ in some]
            changed[numbers] = job.metric.measure(logits, clean, answers).cpu()
            job.tally.add(len(rows) * sum(map(job.cost, numbers)))
            start += len(some)
    return {"clean": job.metric.measure(clean[None], clean, answers)[0].cpu(), "ablated": changed}


def _stacks(
    job: _Job, replay: Replay, rows: Int[Tensor, " row"], values: Values
) -> list[list[tuple[int, Intervention]]]:
    """Interventions with their numbers, those together that start in one block at one position."""
    stacks: dict[tuple[int, int], list[tuple[int, Intervention]]] = {}
    length, device = replay.rows.ids.shape[1], job.model.device
    for number, whole in enumerate(job.interventions):
        unit = whole.take(rows, length, device)
        stacks.setdefault((unit.first_layer, replay.start(unit, values)), []).append((number, unit))
    return [stacks[key] for key in sorted(stacks)]


def _fitting(
    replay: Replay, units: Sequence[Intervention], values: Values, tokens: Tensor | None, *, alike: int
) -> Tensor | None:
    """Logits of some runs, or None where they do not fit into memory and fewer can be tried."""
    try:
        return replay.run(units, values, tokens, alike=alike)
    except RuntimeError as error:
        if len(units) == 1 or not is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _short_of_memory(model: HookedModel) -> OptionError:
    return OptionError(
        f"Out of memory on {model.device} with {model.info.name!r} at one row at a time; give --dtype bfloat16, "
        "shorter prompts, or a device with more memory."
    )


def _check_finite(model: HookedModel, found: dict[str, Tensor]) -> None:
    if not all(bool(value.isfinite().all()) for value in found.values()):
        raise ModelError(
            f"{model.info.name!r} gives logits that are not finite numbers in {model.dtype}; its weights are too large "
            "for this number format or broken. Try --dtype float32."
        )
