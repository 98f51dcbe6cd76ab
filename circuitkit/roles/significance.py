"""Tests behind the roles: of means above a floor, of shares above chance, and of many hypotheses at once."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import false_discovery_control, ttest_1samp
from torch import Tensor

LEAST_PROMPTS = 8
"""With fewer prompts nothing is claimed: their spread is not known well enough."""

SCREEN_SHARE = 0.5
"""Share of the accepted false discovery rate that the screen of all tests may use up; the follow-up has the rest."""


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


def r_values(screen: Float[Tensor, " test"], follow: Float[Tensor, " test"], *, alpha: float) -> Float[Tensor, " test"]:
    """False discovery rates of claims that what a screen of all tests finds holds in a follow-up of some.

    Heller, Bogomolov and Benjamini 2014, PNAS 111:16262, with c2 = 1/2 and l00 = 0: of m tests screened and k followed
    up, e = max(2 m p_screen, 2 k p_follow), and r is the least e / rank(e) of all e that are not smaller. Among all
    tests with r up to alpha, those of which either part is false are a share of alpha at most.

    Assumed is, between tests, what Benjamini and Hochberg 1995 need (which this is, of e / k): independence, or
    positive dependence. Between the two parts of one test independence under the null is assumed, which parts measured
    on the same prompts have not quite. It matters little. Where the screened part is chance, its e alone keeps the
    share to alpha / 2, whatever the follow-up does. Where only the followed part is chance, it is alpha / 2 divided by
    the probability, at most, that such tests pass the screen: therefore all with p-values up to alpha are followed up,
    although fewer could be claimed. In simulations a narrower choice let the share rise to half where parts of weak
    tests were correlated by 0.9, and that of AdaFilter (Wang et al. 2022) did so in stronger ones; this one kept alpha.

    Args:
        screen: P-values of all tests in the screen.
        follow: P-values of the follow-up of those up to alpha; the others are not read. 0 where a claim needs none.
        alpha: P-value in the screen up to which tests are followed up, and the false share that is accepted.

    Returns:
        1 for tests that were not followed up.
    """
    found = torch.ones(len(screen), dtype=torch.float64)
    chosen = screen <= alpha
    k = int(chosen.sum())
    if k:
        first = screen[chosen].double() * len(screen) / (k * SCREEN_SHARE)
        second = follow[chosen].double() / (1 - SCREEN_SHARE)
        found[chosen] = adjusted(torch.maximum(first, second).clamp(max=1))
    return found
