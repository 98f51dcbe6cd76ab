"""The values that stand in for an ablated component's activation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from einops import reduce
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.core.memory import is_out_of_memory
from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.clean_run import run_clean
from circuitkit.interventions.row_budget import BatchSize, RowBudget
from circuitkit.interventions.rows import shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """Replacement activations of one shard of prompts, by layer.

    Attributes:
        z: Head values before the output projection.
        mlp: MLP outputs, output bias included.
        embed: What the first block reads.
        resid: Residual stream behind a block; None where nothing stands in for whole blocks.
        start: In a causal model, the first position at which they can differ from the activations that they
            replace: before it, all prompts that they come from have the tokens of the prompts that they go into.
    """

    z: Callable[[int], Float[Tensor, "#row #pos head d_head"]]
    mlp: Callable[[int], Float[Tensor, "#row #pos d_model"]]
    embed: Float[Tensor, "#row #pos d_model"]
    start: int = 0
    resid: Callable[[int], Float[Tensor, "#row #pos d_model"]] | None = None

    def stream(self, layer: int) -> Float[Tensor, "#row #pos d_model"]:
        """What replaces the stream behind a block; -1: what the first block reads.

        Raises:
            OptionError: Nothing stands in for whole blocks.
        """
        if layer < 0:
            return self.embed
        if self.resid is None:
            raise OptionError(
                "The residual stream behind a block can be replaced only by that of other prompts; give the source "
                "`resample` or `taken_from(...)`, or replace heads and MLPs."
            )
        return self.resid(layer)


Base = Literal["clean", "corrupted"]
"""Which prompts of a batch are run."""

Replacement = Callable[[Int[Tensor, " row"], int], Values]
"""From the prompts of a shard and its length in tokens to the values that replace theirs."""


def parse_base(base: str) -> Base:
    """Read which prompts are run.

    Raises:
        OptionError: There are none of this name.
    """
    if base not in get_args(Base):
        raise OptionError(f"Base {base!r} unknown; choose one of {', '.join(get_args(Base))}.")
    return cast(Base, base)


def replacement(
    model: HookedModel,
    batch: PromptBatch,
    ablation: Ablation,
    *,
    base: Base = "clean",
    rows_at_a_time: int = 64,
    progress: Progress = silent,
) -> Replacement:
    """Prepare the replacement values of an ablation; for the mean kinds this runs the prompts once.

    Args:
        model: The model.
        batch: Prompts.
        ablation: What replaces an activation.
        base: The prompts that the values go into; the partners of corrupted prompts are the clean ones.
        rows_at_a_time: Prompts run together.
        progress: Called as prompts are done.

    Raises:
        OptionError: The ablation needs corrupted prompts and the task has none.
    """
    if ablation.needs_corrupted and batch.corrupted is None:
        raise OptionError(
            f"Ablation {ablation.value!r} needs corrupted prompts and task {batch.task.name!r} has none; "
            "give them, or use --ablation mean or zero."
        )
    if ablation is Ablation.ZERO:
        return lambda rows, length: _zeros(model)
    if ablation is Ablation.RESAMPLE:
        assert batch.corrupted is not None
        blocks = {"clean": batch.clean, "corrupted": batch.corrupted}
        partners = blocks.pop(base), *blocks.values()
        return taken_from(model, partners[1], into=partners[0], positional=batch.positional)
    return _means(model, batch, ablation, rows_at_a_time=rows_at_a_time, progress=progress)


def fitting_replacement(
    model: HookedModel,
    batch: PromptBatch,
    ablation: Ablation,
    *,
    base: Base = "clean",
    batch_size: BatchSize = "auto",
    progress: Progress = silent,
) -> Replacement:
    """The same with as many prompts at a time as memory allows.

    Raises:
        OptionError: As `replacement`; or the batch size is not positive, or memory is short for one prompt.
    """
    at_once = min(64, RowBudget(model, batch_size).rows(batch.clean.ids.shape[1]))
    while True:
        try:
            return replacement(model, batch, ablation, base=base, rows_at_a_time=at_once, progress=progress)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if at_once == 1:
                raise OptionError(
                    f"Out of memory on {model.device} with the activations of {model.info.name!r} on one prompt; use "
                    "--dtype bfloat16, shorter prompts, or a device with more memory."
                ) from error
        at_once = (at_once + 1) // 2


def _zeros(model: HookedModel) -> Values:
    z = torch.zeros(1, 1, model.info.n_heads, model.info.d_head, device=model.device, dtype=model.dtype)
    mlp = torch.zeros(1, 1, model.info.d_model, device=model.device, dtype=model.dtype)
    return Values(z=lambda layer: z, mlp=lambda layer: mlp, embed=mlp)


def taken_from(model: HookedModel, block: TokenBlock, *, into: TokenBlock, positional: bool = True) -> Replacement:
    """Activations of every prompt's own partner: resample ablation, and activation patching in both directions.

    Args:
        model: The model.
        block: The prompts that activations are taken from.
        into: The prompts that they go into, row by row the partners of `block`.
        positional: Whether a position means the same in both; if not, the mean over a partner's positions is taken.
    """

    def values(rows: Int[Tensor, " row"], length: int) -> Values:
        taken = take(block, rows, model)
        found = run_clean(model, taken)
        z, mlp, resid = found.z, found.mlp, found.streams
        if not positional:
            z, mlp, resid = ({layer: _pooled(x, taken.mask) for layer, x in point.items()} for point in (z, mlp, resid))
        return Values(
            z=lambda layer: z[layer],
            mlp=lambda layer: mlp[layer],
            embed=resid[-1],
            resid=lambda layer: resid[layer],
            start=first_difference(block.ids[rows], into.ids[rows]) if positional else 0,
        )

    return values


def first_difference(one: Int[Tensor, "row pos"], other: Int[Tensor, "row pos"]) -> int:
    """The first position at which any row of two token blocks differs; the width if none does."""
    differs = (one != other).any(0)
    return int(differs.long().argmax()) if bool(differs.any()) else one.shape[1]


def _pooled(value: Float[Tensor, "row pos *rest"], mask: Bool[Tensor, "row pos"]) -> Float[Tensor, "row 1 *rest"]:
    """Mean over the non-pad positions of every row."""
    weight = mask.to(value.dtype)[(..., *[None] * (value.ndim - 2))]
    return (value * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)


def _means(
    model: HookedModel, batch: PromptBatch, ablation: Ablation, *, rows_at_a_time: int, progress: Progress
) -> Replacement:
    block = batch.clean if ablation is Ablation.MEAN else batch.corrupted
    assert block is not None
    group = batch.group if batch.positional else torch.zeros_like(batch.group)
    starts = _shared_starts(batch)
    n_groups, width = int(group.max()) + 1, block.ids.shape[1] if batch.positional else 1
    layers, info = range(model.info.n_layers), model.info
    shape: dict[str, tuple[int, ...]] = {
        "z": (n_groups, width, info.n_heads, info.d_head),
        "mlp": (n_groups, width, info.d_model),
        "embed": (n_groups, width, info.d_model),
    }
    sums = {
        p: {n: torch.zeros(s, device=model.device) for n in (range(1) if p == "embed" else layers)}
        for p, s in shape.items()
    }
    counts = torch.zeros(n_groups, width, device=model.device)
    done, total = 0, len(batch.pairs)
    for rows in shards(batch, rows_at_a_time):
        taken = take(block, rows, model)
        found, where = run_clean(model, taken), group[rows].to(model.device)
        counted = taken.mask.float() if batch.positional else taken.mask.float().sum(1, keepdim=True)
        counts[:, : counted.shape[1]].index_add_(0, where, counted)
        for point, activations in (("z", found.z), ("mlp", found.mlp), ("embed", {0: found.hidden[0]})):
            for layer, written in activations.items():
                value = written.to(model.device)
                kept = value.float() * taken.mask[(..., *[None] * (value.ndim - 2))]
                kept = kept if batch.positional else reduce(kept, "row pos ... -> row 1 ...", "sum")
                sums[point][layer][:, : kept.shape[1]].index_add_(0, where, kept)
        done += len(rows)
        progress("means", done, total)
    for point in shape:
        for layer, summed in sums[point].items():
            sums[point][layer] = summed / counts[(..., *[None] * (summed.ndim - 2))].clamp(min=1)

    def values(rows: Int[Tensor, " row"], length: int) -> Values:
        where = group[rows].to(model.device)
        return Values(
            z=lambda layer: sums["z"][layer][where, :length].to(model.dtype),
            mlp=lambda layer: sums["mlp"][layer][where, :length].to(model.dtype),
            embed=sums["embed"][0][where, :length].to(model.dtype),
            start=int(starts[group[rows]].min()),
        )

    return values


def _shared_starts(batch: PromptBatch) -> Int[Tensor, " group"]:
    """How many tokens all prompts of a group begin with, clean and corrupted ones."""
    if not batch.positional:
        return torch.zeros(int(batch.group.max()) + 1, dtype=torch.long)
    blocks = [batch.clean] if batch.corrupted is None else [batch.clean, batch.corrupted]
    starts: list[int] = []
    for group in range(int(batch.group.max()) + 1):
        ids = torch.cat([block.ids[batch.group == group] for block in blocks])
        starts.append(first_difference(ids, ids[:1].expand_as(ids)) if len(ids) else 0)
    return torch.tensor(starts)
