"""Activations of all prompts, a few prompts and layers at a time, so that memory stays bounded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.alignment.positions import SharedPositions, UnitView, view_units
from circuitkit.interventions.rows import take
from circuitkit.models.capture import Point
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

ACTIVATION_BYTES = 128 * 2**20
ACCUMULATOR_BYTES = 768 * 2**20
MOST_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Captured:
    """Activations of some prompts.

    Attributes:
        rows: Which prompts.
        units: Brings the activations to the positions shared with the other model.
        found: Activations by point and layer.
    """

    rows: Int[Tensor, " row"]
    units: UnitView
    found: dict[Point, dict[int, Tensor]]

    def present(self, point: Point, layer: int) -> Float[Tensor, "unit *rest"]:
        """Activations of every present unit of the prompts, one after another (float64)."""
        return self.units.activations(self.found[point][layer])[self.units.present]


def capture_rows(
    model: HookedModel,
    batch: PromptBatch,
    shared: SharedPositions,
    rows: Int[Tensor, " row"],
    *,
    points: Sequence[Point],
    layers: Sequence[int],
) -> Captured:
    """Run some clean prompts and keep the asked activations."""
    taken = take(batch.clean, rows, model)
    found = model.capture(taken.ids, taken.mask, points, layers)
    device = accumulator_device(model)
    units = view_units(batch.clean, shared, rows, length=taken.ids.shape[1], device=device)
    return Captured(rows=rows, units=units, found=found)


def accumulator_device(model: HookedModel) -> torch.device:
    """Where sums are kept: beside the model, except that Apple's GPUs have no float64."""
    return torch.device("cpu") if model.device.type == "mps" else model.device


def row_chunks(
    model: HookedModel, batch: PromptBatch, *, batch_size: int | Literal["auto"]
) -> Iterator[Int[Tensor, " row"]]:
    """Prompts in order, as many at a time as a fixed amount of memory and `batch_size` allow."""
    n, length = batch.clean.ids.shape
    info = model.info
    values = info.n_layers * length * (2 * info.d_model + info.n_heads * (info.d_head + length))
    size = max(1, min(MOST_ROWS, ACTIVATION_BYTES // (4 * values)))
    if batch_size != "auto":
        size = min(size, batch_size)
    for start in range(0, n, size):
        yield torch.arange(start, min(n, start + size))


def layer_chunks(n_layers: int, *, bytes_per_layer: int) -> list[range]:
    """Layers whose accumulators fit a fixed amount of memory together; each chunk costs one more pass."""
    size = max(1, ACCUMULATOR_BYTES // bytes_per_layer)
    return [range(start, min(n_layers, start + size)) for start in range(0, n_layers, size)]
