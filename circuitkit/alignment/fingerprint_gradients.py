"""Fingerprints estimated from gradients: one forward and one backward pass for all components, kinds and places."""

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.alignment.fingerprint_places import reached
from circuitkit.core.component import Component
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.memory import is_out_of_memory
from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.attribution import Slopes, answer_slopes
from circuitkit.interventions.clean_run import CleanRun, run_clean
from circuitkit.interventions.engine import PROMPTS_PER_SHARD
from circuitkit.interventions.row_budget import BatchSize, RowBudget
from circuitkit.interventions.rows import shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


def estimate_fingerprints(
    model: HookedModel,
    batch: PromptBatch,
    groups: Bool[Tensor, "group prompt pos"],
    *,
    batch_size: BatchSize = "auto",
    stage: str = "gradients",
    progress: Progress = silent,
) -> Float[Tensor, "component kind group prompt"]:
    """Estimate what `fingerprints` measures, in logits, by attribution patching (Nanda 2023; arXiv 2310.10348).

    The effect of a component at some positions is, to first order, the clean minus the counterfactual activation
    times the slope of the logit difference there. It is exact where the logit difference is linear in the activation,
    and misleads most where a norm follows a large write.

    Args:
        model: The model.
        batch: Prompts with their counterfactuals.
        groups: The positions of each group.
        batch_size: Rows run at a time, where that is fewer than a shard has.
        stage: Name of this work in progress reports.
        progress: Called as shards advance; units are prompts.

    Raises:
        OptionError: Memory is short for the gradients of one prompt.
        ModelError: Estimates are not finite.
    """
    limit = PROMPTS_PER_SHARD if batch_size == "auto" else RowBudget(model, batch_size).rows(1)
    out = torch.zeros(len(model.components), len(batch.counterfactuals), len(groups), len(batch.pairs))
    done = 0
    for rows in shards(batch, PROMPTS_PER_SHARD):
        out[..., rows] = _shard(model, batch, rows, groups, limit=limit)
        done += len(rows)
        progress(stage, done, len(batch.pairs))
    if not bool(out.isfinite().all()):
        raise ModelError(
            f"Gradients of {model.info.name!r} are not finite numbers in {model.dtype}; measure all components, or try "
            "--dtype float32."
        )
    return out


def _shard(
    model: HookedModel,
    batch: PromptBatch,
    rows: Int[Tensor, " row"],
    groups: Bool[Tensor, "group prompt pos"],
    *,
    limit: int,
) -> Float[Tensor, "component kind group row"]:
    """One shard, in halves where it is too large for `limit` or for the memory."""
    if len(rows) <= limit:
        try:
            return _together(model, batch, rows, groups)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise OptionError(
                    f"Out of memory on {model.device} with the gradients of {model.info.name!r} on one prompt; use "
                    "--fingerprint-components all, --dtype bfloat16, or a device with more memory."
                ) from error
    halves = [_shard(model, batch, half, groups, limit=limit) for half in rows.tensor_split(2)]
    return torch.cat(halves, dim=-1)


def _together(
    model: HookedModel, batch: PromptBatch, rows: Int[Tensor, " row"], groups: Bool[Tensor, "group prompt pos"]
) -> Float[Tensor, "component kind group row"]:
    taken = take(batch.clean, rows, model)
    length = taken.ids.shape[1]
    slopes = answer_slopes(model, taken, correct=batch.correct_ids[rows], incorrect=batch.incorrect_ids[rows])
    kinds: list[Tensor] = []
    for other in batch.counterfactuals.values():
        where = reached(batch, other, groups, is_causal=model.is_causal)[:, rows, :length].to(model.device)
        kinds.append(_effects(model, slopes, run_clean(model, take(other, rows, model)), where))
    return rearrange(torch.stack(kinds), "kind component group row -> component kind group row").cpu()


def _effects(
    model: HookedModel, slopes: Slopes, other: CleanRun, where: Bool[Tensor, "group row pos"]
) -> Float[Tensor, "component group row"]:
    found: dict[Component, Tensor] = {}
    for layer, (z, of_z) in slopes.z.items():
        clean, slope = (rearrange(x.float(), "row pos (h d) -> row pos h d", h=model.info.n_heads) for x in (z, of_z))
        fall = einsum(clean - other.z[layer].to(clean), slope, "row pos h d, row pos h d -> h row pos")
        heads = einsum(fall, where.to(fall), "h row pos, group row pos -> h group row")
        found |= {Component(layer, head): effect for head, effect in enumerate(heads)}
        mlp, of_mlp = (x.float() for x in slopes.mlp[layer])
        fall = einsum(mlp - other.mlp[layer].to(mlp), of_mlp, "row pos d, row pos d -> row pos")
        found[Component(layer)] = einsum(fall, where.to(fall), "row pos, group row pos -> group row")
    return torch.stack([found[c].to(model.device) for c in model.components])
