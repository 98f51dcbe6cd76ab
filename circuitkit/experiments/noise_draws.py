"""Noise for a whole model: one draw for every component, position and channel, the same for all prompts."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.models.info import ModelInfo


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseDraw:
    """Noise of one standard deviation and seed, in the activations' own units.

    It is the same for all prompts, so that means over prompts keep it: noise drawn anew for each prompt would shrink
    with the root of their number.

    Attributes:
        z: What is added to head values.
        mlp: What is added to MLP outputs.
        pattern: What is added to mean attention, where that is compared.
    """

    z: Float[Tensor, "layer pos head d_head"]
    mlp: Float[Tensor, "layer pos d_model"]
    pattern: Float[Tensor, "layer pos head key"]


def draw_noise(
    info: ModelInfo,
    *,
    positions: int,
    sd: float,
    seed: int,
    head_scale: Float[Tensor, "layer head"] | None = None,
    mlp_scale: Float[Tensor, " layer"] | None = None,
) -> NoiseDraw:
    """Gaussian noise for every head and MLP of a model.

    The draws of one seed are the same at every standard deviation, up to it: levels differ by nothing else.

    Args:
        info: The model.
        positions: Number of positions.
        sd: Standard deviation, in units of the scales.
        seed: Seed.
        head_scale: Unit of the noise of each head; None is 1 everywhere.
        mlp_scale: The same of each MLP.
    """
    n = info.n_layers

    def draw(kind: int, *shape: int) -> Float[Tensor, "..."]:
        generator = np.random.default_rng((seed, kind))
        return sd * torch.from_numpy(generator.standard_normal((n, positions, *shape)))

    z, mlp = draw(0, info.n_heads, info.d_head), draw(1, info.d_model)
    pattern = draw(2, info.n_heads, positions)
    if head_scale is not None:
        z, pattern = z * head_scale[:, None, :, None], pattern * head_scale[:, None, :, None]
    if mlp_scale is not None:
        mlp = mlp * mlp_scale[:, None, None]
    return NoiseDraw(z=z, mlp=mlp, pattern=pattern)
