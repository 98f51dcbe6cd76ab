"""Write replacement values over activations of stacked runs."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.component import Component
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
            if isinstance(component, Component) and component.head is not None:
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
    for run, where in _runs_with("mlp", mlp_out, layer, interventions):
        _write(run, new, where, window)


def edit_stream(
    resid: Float[Tensor, "unit_row kept d_model"],
    layer: int,
    interventions: Sequence[Intervention],
    new: Float[Tensor, "#row #pos d_model"],
    window: Window,
) -> None:
    """Replace the residual stream behind one block in place; see `edit_heads`."""
    new = window.of(new).to(resid.device)
    for run, where in _runs_with("stream", resid, layer, interventions):
        _write(run, new, where, window)


def _runs_with(
    kind: Literal["mlp", "stream"],
    old: Float[Tensor, "unit_row kept d_model"],
    layer: int,
    interventions: Sequence[Intervention],
) -> Iterator[tuple[Float[Tensor, "row kept d_model"], Where | None]]:
    """The runs that replace a site of a kind in a block, and where."""
    for run, intervention in zip(old.unflatten(0, (len(interventions), -1)), interventions, strict=True):
        for site, where in intervention.on(layer):
            if site.kind == kind:
                yield run, where


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
