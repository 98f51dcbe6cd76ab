"""Gaussian noise on activations, the same whatever else is run with it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.interventions.replacement import Replacement, Values
from circuitkit.interventions.rows import take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.token_block import TokenBlock


def noise(model: HookedModel, block: TokenBlock, *, sd: float, seed: int) -> Replacement:
    """Replace activations by themselves plus Gaussian noise (Distilled Circuits, Fig. 3).

    Every prompt and block has a generator of its own, so that the noise depends on neither the shards, the device
    nor which components are replaced together.

    Args:
        model: The model.
        block: The prompts that it runs on.
        sd: Standard deviation, in the activation's own units.
        seed: Seed of the noise.

    Raises:
        OptionError: The standard deviation is negative.
    """
    if sd < 0:
        raise OptionError(f"Standard deviation {sd} of the noise is negative; give 0 or more.")
    width = block.ids.shape[1]

    def draw(rows: Int[Tensor, " row"], layer: int, kind: int, shape: tuple[int, ...]) -> Float[Tensor, "row pos *of"]:
        drawn = [
            torch.randn(width, *shape, generator=torch.Generator().manual_seed(_mixed(seed, int(row), layer, kind)))
            for row in rows
        ]
        return sd * torch.stack(drawn)

    def values(rows: Int[Tensor, " row"], length: int) -> Values:
        taken = take(block, rows, model)
        found = model.capture(taken.ids, taken.mask, ("z", "mlp_out"))

        def noisy(clean: Float[Tensor, "row pos *of"], layer: int, kind: int) -> Float[Tensor, "row pos *of"]:
            drawn = draw(rows, layer, kind, tuple(clean.shape[2:]))[:, :length]
            return (clean.float() + drawn.to(clean.device)).to(clean.dtype)

        return Values(
            z=lambda layer: noisy(found["z"][layer], layer, 0),
            mlp=lambda layer: noisy(found["mlp_out"][layer], layer, 1),
        )

    return values


def _mixed(seed: int, row: int, layer: int, kind: int) -> int:
    """One seed from four numbers, each in digits of its own."""
    return ((seed * 2**24 + row) * 2**10 + layer) * 2 + kind
