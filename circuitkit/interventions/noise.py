"""Gaussian noise on activations, the same whatever else is run with it."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.core.seeds import check_seed
from circuitkit.interventions.clean_run import run_clean
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
        OptionError: The standard deviation is negative or not a number, or the seed is out of range.
    """
    if not (math.isfinite(sd) and sd >= 0):
        raise OptionError(f"Standard deviation {sd} of the noise is not a number from 0 up; give one, such as 0.5.")
    seed, width = check_seed(seed), block.ids.shape[1]

    def draw(rows: Int[Tensor, " row"], layer: int, kind: int, shape: tuple[int, ...]) -> Float[Tensor, "row pos *of"]:
        # numpy mixes several numbers into one seed; torch's CPU generator reads the low 32 bits of one only
        drawn = [
            np.random.default_rng((seed, row, layer, kind)).standard_normal((width, *shape), dtype=np.float32)
            for row in rows.tolist()
        ]
        return sd * torch.from_numpy(np.stack(drawn))

    def values(rows: Int[Tensor, " row"], length: int) -> Values:
        taken = take(block, rows, model)
        found = run_clean(model, taken)

        def noisy(clean: Float[Tensor, "row pos *of"], layer: int, kind: int) -> Float[Tensor, "row pos *of"]:
            drawn = draw(rows, layer, kind, tuple(clean.shape[2:]))[:, :length]
            return (clean.float() + drawn.to(clean.device)).to(clean.dtype)

        return Values(
            z=lambda layer: noisy(found.z[layer], layer, 0),
            mlp=lambda layer: noisy(found.mlp[layer], layer, 1),
            embed=noisy(found.hidden[0], 0, 2),
        )

    return values
