"""The exact sweep: every component of a model ablated on every prompt of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.digest import digest
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.replacement import Replacement, replacement
from circuitkit.interventions.replay import Replay
from circuitkit.interventions.rows import logit_diff, shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

PROMPTS_PER_SHARD = 32
ROWS_ON_CPU, ROWS_ON_GPU = 256, 2048


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """Logit differences, in logits, of the intact model and of the model with one component ablated.

    Attributes:
        components: The ablated components.
        clean: Per prompt, nothing ablated.
        ablated: Per component and prompt.
    """

    components: tuple[Component, ...]
    clean: Float[Tensor, " prompt"]
    ablated: Float[Tensor, "component prompt"]


def sweep(
    model: HookedModel,
    batch: PromptBatch,
    *,
    ablation: Ablation = Ablation.CORRUPTED_MEAN,
    components: Sequence[Component] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    store: ShardStore | None = None,
    stage: str = "sweep",
    progress: Progress = silent,
) -> Sweep:
    """Ablate components one at a time, exactly (Distilled Circuits, section 3.1 and Eq. 4).

    Args:
        model: The model.
        batch: Prompts; results keep their order.
        ablation: What replaces an activation.
        components: Which to ablate; every head and MLP if not given.
        batch_size: Rows (component x prompt) run at a time. Numbers differ by rounding only.
        store: Where finished shards are kept and found again.
        stage: Name of this work in progress reports.
        progress: Called as shards advance; units are block evaluations.

    Raises:
        OptionError: The ablation cannot be done on this task, the batch size is not positive, or memory is short.
        ModelError: Logits are not finite.
    """
    components = tuple(components) if components is not None else model.components
    limit = _rows_at_a_time(model, batch_size)
    clean = torch.zeros(len(batch.pairs))
    ablated = torch.zeros(len(components), len(batch.pairs))
    by_layer = {layer: [c for c in components if c.layer == layer] for layer in sorted({c.layer for c in components})}
    cost = sum(len(units) * (model.info.n_layers - layer) for layer, units in by_layer.items())
    total, done = cost * len(batch.pairs), 0
    values: Replacement | None = None
    for number, rows in enumerate(shards(batch, PROMPTS_PER_SHARD)):
        found = store.load(f"{number:05d}") if store else None
        if found is None:
            try:
                values = values or replacement(model, batch, ablation, rows_at_a_time=min(64, limit))
                found = _shard(model, batch, rows, by_layer, values=values, limit=limit)
            except torch.OutOfMemoryError as error:
                raise OptionError(
                    f"Out of memory on {model.device} with {model.info.name!r}; give a smaller --batch-size, or "
                    "--dtype bfloat16, or a device with more memory."
                ) from error
            _check_finite(model, found)
            if store:
                store.save(f"{number:05d}", found)
        clean[rows] = found["clean"]
        ablated[:, rows] = found["ablated"][_order(by_layer, components)]
        done += cost * len(rows)
        progress(stage, done, total)
    return Sweep(components=components, clean=clean, ablated=ablated)


def sweep_key(
    model: HookedModel,
    batch: PromptBatch,
    ablation: Ablation,
    *,
    components: Sequence[Component],
    versions: Mapping[str, str],
) -> str:
    """Digest of everything that a sweep's numbers depend on: the name under which its shards are kept.

    Args:
        model: The model: its weights, configuration, number format and kind of device count.
        batch: The prompts.
        ablation: What replaces an activation.
        components: The components, in order.
        versions: Versions of what computes.
    """
    config = model.raw.config.to_diff_dict()
    blocks = [batch.clean] if batch.corrupted is None else [batch.clean, batch.corrupted]
    return digest(
        {
            "versions": dict(versions),
            "config": {name: value for name, value in config.items() if name != "_name_or_path"},
            "components": [str(c) for c in components],
            "weights": model.info.weights_sha256,
            "family": model.info.family,
            "dtype": str(model.dtype),
            "device": model.device.type,
            "ablation": ablation.value,
            "tokens": [[block.ids.tolist(), block.mask.long().tolist()] for block in blocks],
            "answers": [
                batch.clean.answer_pos.tolist(),
                batch.correct_ids.tolist(),
                batch.incorrect_ids.tolist(),
            ],
            "groups": [batch.positional, batch.group.tolist()],
            "shard": PROMPTS_PER_SHARD,
        }
    )


def _order(by_layer: dict[int, list[Component]], components: Sequence[Component]) -> list[int]:
    run = {unit: i for i, unit in enumerate(unit for units in by_layer.values() for unit in units)}
    return [run[c] for c in components]


def _rows_at_a_time(model: HookedModel, batch_size: int | Literal["auto"]) -> int:
    if batch_size == "auto":
        return ROWS_ON_CPU if model.device.type == "cpu" else ROWS_ON_GPU
    if batch_size < 1:
        raise OptionError(f"Batch size {batch_size} is not positive; give --batch-size auto or a number from 1 up.")
    return batch_size


def _check_finite(model: HookedModel, found: dict[str, Tensor]) -> None:
    if not all(bool(value.isfinite().all()) for value in found.values()):
        raise ModelError(
            f"{model.info.name!r} gives logits that are not finite numbers in {model.dtype}; its weights are too large "
            "for this number format or broken. Try --dtype float32."
        )


def _shard(
    model: HookedModel,
    batch: PromptBatch,
    rows: Int[Tensor, " row"],
    by_layer: dict[int, list[Component]],
    *,
    values: Replacement,
    limit: int,
) -> dict[str, Tensor]:
    """Run one shard; rows of `ablated` come block by block. Prompts are split where they are too many at a time."""
    if len(rows) > limit:
        parts = [_shard(model, batch, part, by_layer, values=values, limit=limit) for part in rows.split(limit)]
        return {name: torch.cat([part[name] for part in parts], dim=-1) for name in ("clean", "ablated")}
    taken = take(batch.clean, rows, model)
    answers = batch.correct_ids[rows], batch.incorrect_ids[rows]
    replay = Replay(model, taken)
    replaced = values(rows, taken.ids.shape[1])
    out: list[Tensor] = []
    for units in by_layer.values():
        at_once, start = max(1, limit // len(rows)), 0
        while start < len(units):
            try:
                logits = replay.ablate(units[start : start + at_once], replaced)
            except torch.OutOfMemoryError:
                if at_once == 1:
                    raise
                at_once //= 2
                continue
            out.append(logit_diff(logits, *answers).cpu())
            start += at_once
    return {"clean": logit_diff(replay.clean, *answers).cpu(), "ablated": torch.cat(out)}
