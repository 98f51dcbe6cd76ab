"""Percentile bootstrap over prompts, vectorised: one weight matrix serves every figure of a run."""

import torch
from jaxtyping import Float
from torch import Tensor


def bootstrap_weights(n_prompts: int, n_draws: int, *, seed: int) -> Float[Tensor, "draw prompt"]:
    """Share of each prompt in each bootstrap draw (float64; rows sum to 1).

    Multiplying with per-prompt values gives the drawn means: `weights @ values`. Using one matrix for
    several quantities resamples them together, prompt by prompt.

    Args:
        n_prompts: Number of prompts to draw from, with replacement.
        n_draws: Number of draws.
        seed: Seed of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = torch.zeros(n_draws, n_prompts, dtype=torch.float64)
    one = torch.ones(n_draws, n_prompts, dtype=torch.float64)
    drawn = torch.randint(n_prompts, (n_draws, n_prompts), generator=generator)
    return weights.scatter_add_(1, drawn, one) / n_prompts


def percentile_interval(
    draws: Float[Tensor, "draw *rest"], *, level: float = 0.95
) -> tuple[Float[Tensor, "*rest"], Float[Tensor, "*rest"]]:
    """Lower and upper bound of the percentile interval along the first axis.

    Efron & Tibshirani 1993, chapter 13.
    """
    tail = (1 - level) / 2
    low, high = torch.quantile(draws.double(), torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=0)
    return low, high
