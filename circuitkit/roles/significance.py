"""Tests behind the roles: of means above a floor, of shares above chance, and of many hypotheses at once."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import false_discovery_control, ttest_1samp
from torch import Tensor

LEAST_PROMPTS = 8
"""With fewer prompts nothing is claimed: their spread is not known well enough."""


def p_above_zero(values: Float[Tensor, "head prompt"]) -> Float[Tensor, " head"]:
    """One-sided p-values of Student's t test that the mean over prompts is above 0.

    Values that are the same in all prompts are certain where they are above 0; fewer than `LEAST_PROMPTS` prompts
    give 1.
    """
    n = values.shape[1]
    if n < LEAST_PROMPTS:
        return torch.ones(len(values), dtype=torch.float64)
    rows = values.double()
    spread = rows.std(1) > 1e-12 * (1 + rows.abs().amax(1))
    p = torch.where(rows.mean(1) > 1e-12, 0.0, 1.0).double()
    if bool(spread.any()):
        found: Any = ttest_1samp(rows[spread].numpy(), 0.0, axis=1, alternative="greater")
        p[spread] = torch.from_numpy(np.asarray(found.pvalue, dtype=np.float64))
    return p


def p_above_chance(
    mean: Float[Tensor, " head"], chance: Float[Tensor, " head"], *, n_prompts: int
) -> Float[Tensor, " head"]:
    """Upper bounds of one-sided p-values that a mean of values between 0 and 1 is above its expectation under chance.

    Hoeffding 1963, theorem 1: n independent values between 0 and 1 of expected mean m have a mean of x > m with
    probability exp(-n KL(x || m)) at most, KL between coins of these biases. It holds for any values and any number,
    so that it is never too small; fewer than `LEAST_PROMPTS` prompts give 1.
    """
    if n_prompts < LEAST_PROMPTS:
        return torch.ones(len(mean), dtype=torch.float64)
    x, m = mean.double().clamp(0, 1), chance.double().clamp(0, 1)
    divergence = torch.special.xlogy(x, x / m) + torch.special.xlogy(1 - x, (1 - x) / (1 - m))
    return torch.where(x > m, torch.exp(-n_prompts * divergence), 1.0)


def all_hold(*p: Float[Tensor, " head"]) -> Float[Tensor, " head"]:
    """The p-value that not all hypotheses hold: the largest (intersection-union test, Berger 1982)."""
    return torch.stack(p).amax(0)


def any_holds(*p: Float[Tensor, " head"]) -> Float[Tensor, " head"]:
    """The p-value that none of the hypotheses holds: the smallest times their number (Bonferroni)."""
    return (torch.stack(p).amin(0) * len(p)).clamp(max=1)


def adjusted(p: Float[Tensor, " test"]) -> Float[Tensor, " test"]:
    """Benjamini and Hochberg 1995: claiming all tests with values up to alpha, the false share is that."""
    if not len(p):
        return p
    return torch.from_numpy(np.asarray(false_discovery_control(p.double().numpy(), method="bh"), dtype=np.float64))
