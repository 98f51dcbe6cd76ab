"""What one model does on the clean prompts, in a form that fits in memory: means and covariances.

Activations are never kept for the whole dataset: they are added up a few prompts at a time, in float64.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.alignment.covariance import CovarianceSum
from circuitkit.alignment.positions import SharedPositions
from circuitkit.alignment.stream import (
    Captured,
    accumulator_device,
    capture_rows,
    layer_chunks,
    row_chunks,
)
from circuitkit.core.progress import Progress, silent
from circuitkit.models.capture import Point
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

Need = Literal["z", "pattern", "mlp"]
LEADING = 3
_POINTS: dict[Need, Point] = {"z": "z", "pattern": "pattern", "mlp": "mlp_out"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActivationSummary:
    """Means and leading directions of one model's activations over the clean prompts.

    Attributes:
        slot_weight: Units in each slot, over the number of prompts: the share of the prompts in its group.
        row_weight: The same for the query rows of patterns.
        z: Mean value mix of every head in each slot, None if not asked for.
        pattern: Mean attention of every head in each query row, None if not asked for.
        mlp_axes: Leading eigenvectors of the centred covariance of each MLP's output over all units of all
            prompts, the largest first; zeros where the output does not vary in so many directions.
    """

    slot_weight: Float[Tensor, " slot"]
    row_weight: Float[Tensor, " row"]
    z: Float[Tensor, "layer slot head d_head"] | None
    pattern: Float[Tensor, "layer row head key"] | None
    mlp_axes: Float[Tensor, "layer k d_model"] | None


class _SlotMeans:
    """Adds up activations by slot."""

    def __init__(self, layers: int, shape: tuple[int, ...], device: torch.device) -> None:
        self.sums = torch.zeros(layers, *shape, dtype=torch.float64, device=device)

    def add(self, layer: int, slot: Int[Tensor, " unit"], x: Float[Tensor, "unit *rest"]) -> None:
        self.sums[layer].index_add_(0, slot.to(x.device), x)

    def means(self, counts: Float[Tensor, " slot"]) -> Float[Tensor, "layer slot *rest"]:
        per_slot = counts.to(self.sums.device)
        return (self.sums / per_slot[(None, ..., *[None] * (self.sums.ndim - 2))]).cpu()


def leading_eigenvectors(covariance: Float[Tensor, "d_model d_model"]) -> Float[Tensor, "k d_model"]:
    """The 3 leading eigenvectors, the largest first; zeros in place of directions without variance."""
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0)[:LEADING], vectors.flip(1)[:, :LEADING]
    threshold = values[0].clamp(min=0) * len(covariance) * torch.finfo(values.dtype).eps
    vectors = vectors * (values > threshold)
    out = torch.zeros(LEADING, len(covariance), dtype=covariance.dtype)
    out[: vectors.shape[1]] = rearrange(vectors, "d_model k -> k d_model")
    return out


def summarise(
    model: HookedModel,
    batch: PromptBatch,
    shared: SharedPositions,
    *,
    need: Collection[Need],
    batch_size: int | Literal["auto"] = "auto",
    stage: str = "activations",
    progress: Progress = silent,
) -> ActivationSummary:
    """Run the clean prompts once and summarise what is needed for similarities.

    MLP covariances of wide models are made in several passes, so many layers at a time as fit in memory.

    Args:
        model: The model.
        batch: Its prompts; only the clean side is used.
        shared: Positions at which it is compared with the other model.
        need: `z` for `output` and `z` similarity, `pattern`, `mlp` for eigenvector similarity.
        batch_size: Prompts run at a time, at most.
        stage: Name of this work in progress reports.
        progress: Called as prompts are done.
    """
    info, device = model.info, accumulator_device(model)
    slot_counts, row_counts = _counts(shared.slot), _counts(shared.row)
    n_units = shared.present.shape[1]
    z = _SlotMeans(info.n_layers if "z" in need else 0, (len(slot_counts), info.n_heads, info.d_head), device)
    pattern = _SlotMeans(info.n_layers if "pattern" in need else 0, (len(row_counts), info.n_heads, n_units), device)
    passes = layer_chunks(info.n_layers, bytes_per_layer=8 * info.d_model**2 if "mlp" in need else 1)
    axes: list[Tensor] = []
    if not need:
        passes = []
    done, total = 0, len(passes) * len(batch.pairs)
    for layers in passes:
        covariances = CovarianceSum(len(layers) if "mlp" in need else 0, info.d_model, info.d_model, device)
        for rows in row_chunks(model, batch, batch_size=batch_size):
            found = capture_rows(model, batch, shared, rows, points=[_POINTS[n] for n in need], layers=layers)
            for layer in layers:
                if "z" in need:
                    z.add(layer, shared.slot[rows][shared.present[rows]], found.present("z", layer))
                if "pattern" in need:
                    _add_patterns(pattern, layer, found, shared)
            if "mlp" in need:
                outputs = torch.stack([found.present("mlp_out", layer) for layer in layers])
                covariances.add(outputs, outputs)
            done += len(rows)
            progress(stage, done, total)
        axes += [leading_eigenvectors(covariances.covariance(i).cpu()) for i in range(len(covariances))]
    return ActivationSummary(
        slot_weight=slot_counts / len(batch.pairs),
        row_weight=row_counts / len(batch.pairs),
        z=z.means(slot_counts) if "z" in need else None,
        pattern=pattern.means(row_counts) if "pattern" in need else None,
        mlp_axes=torch.stack(axes) if axes else None,
    )


def _counts(slot: Int[Tensor, "prompt unit"]) -> Float[Tensor, " slot"]:
    return torch.bincount(slot[slot >= 0]).double()


def _add_patterns(means: _SlotMeans, layer: int, found: Captured, shared: SharedPositions) -> None:
    by_query = rearrange(
        found.units.patterns(found.found["pattern"][layer]), "row head query key -> row query head key"
    )
    chosen = by_query[found.units.present]
    missing = shared.present.shape[1] - chosen.shape[-1]
    row = shared.row[found.rows][shared.present[found.rows]]
    means.add(layer, row, torch.nn.functional.pad(chosen, (0, missing)))
