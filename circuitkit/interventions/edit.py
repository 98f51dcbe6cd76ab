"""Write replacement values over activations of stacked runs."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.interventions.intervention import Intervention, Where
from circuitkit.interventions.window import Window


def edit_heads(
    z: Float[Tensor, "unit_row kept head d_head"],
    layer: int,
    interventions: Sequence[Intervention],
    new: Float[Tensor, "#row #pos head d_head"],
    window: Window,
) -> None:
    """Replace head values of one block in place.

    Args:
        z: Head values of the runs, one after the other.
        layer: The block.
        interventions: One a run.
        new: The values that replace them, over all positions.
        window: The positions that `z` holds.
    """
    new = window.of(new).to(z.device)
    runs = z.unflatten(0, (len(interventions), -1))
    for run, intervention in zip(runs, interventions, strict=True):
        for component, where in intervention.on(layer):
            if component.head is not None:
                _write(run[:, :, component.head], new[:, :, component.head], where, window)


def edit_mlp(
    mlp_out: Float[Tensor, "unit_row kept d_model"],
    layer: int,
    interventions: Sequence[Intervention],
    new: Float[Tensor, "#row #pos d_model"],
    window: Window,
) -> None:
    """Replace the MLP output of one block in place; see `edit_heads`."""
    new = window.of(new).to(mlp_out.device)
    runs = mlp_out.unflatten(0, (len(interventions), -1))
    for run, intervention in zip(runs, interventions, strict=True):
        for component, where in intervention.on(layer):
            if component.head is None:
                _write(run, new, where, window)


def _write(
    old: Float[Tensor, "row kept width"],
    new: Float[Tensor, "#row #kept width"],
    where: Where | None,
    window: Window,
) -> None:
    if where is None:
        old.copy_(new.expand_as(old))
    else:
        old.copy_(torch.where(window.of(where)[..., None].to(old.device), new, old))
