"""Accuracy and AUROC of held-out samples, with intervals and exact comparisons."""

import math

import torch
from jaxtyping import Float, Int
from scipy.stats import binomtest, norm
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights


def wilson(hits: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share (Wilson 1927); unlike the bootstrap it has a width at 0 and at 1.

    Args:
        hits: How many of them were right; need not be whole.
        n: Number of samples.
        level: Coverage.
    """
    z = float(norm.ppf((1 + level) / 2))
    p, spread = hits / n, z * z / n
    centre = (p + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(p * (1 - p) / n + spread / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def auroc(values: Float[Tensor, " sample"], classes: Int[Tensor, " sample"], fold: Int[Tensor, " sample"]) -> float:
    """Chance that a sample of class 1 has a higher value than one of class 0; ties count one half.

    Only samples that were held out together are compared: decision values of different fits have no common scale.
    """
    one = torch.ones(1, len(values), dtype=torch.float64)
    return float(_weighted_auroc(values, classes, fold, one)[0])


def auroc_draws(
    values: Float[Tensor, " sample"],
    classes: Int[Tensor, " sample"],
    fold: Int[Tensor, " sample"],
    prompts: Int[Tensor, " sample"],
    weights: BootstrapWeights,
) -> Float[Tensor, " draw"]:
    """`auroc` of bootstrap draws of the prompts; all samples of one prompt are drawn together."""
    return torch.cat([_weighted_auroc(values, classes, fold, block[:, prompts]) for block in weights.blocks()])


def _weighted_auroc(
    values: Float[Tensor, " sample"],
    classes: Int[Tensor, " sample"],
    fold: Int[Tensor, " sample"],
    weights: Float[Tensor, "draw sample"],
) -> Float[Tensor, " draw"]:
    won = compared = torch.zeros(len(weights), dtype=torch.float64)
    for number in fold.unique().tolist():
        ups, downs = ((fold == number) & (classes == which) for which in (1, 0))
        gap = values[ups].double()[:, None] - values[downs].double()[None, :]
        up, down = weights[:, ups], weights[:, downs]
        won = won + ((up @ ((gap > 0).double() + (gap == 0).double() / 2)) * down).sum(1)
        compared = compared + up.sum(1) * down.sum(1)
    return won / compared.clamp(min=1e-12)


def better_hits(hits: Float[Tensor, " sample"], than: Float[Tensor, " sample"]) -> float:
    """One-sided p that the same samples are not told better (exact sign test on those where the two differ)."""
    up, down = int((hits > than).sum()), int((hits < than).sum())
    return 1.0 if up + down == 0 else float(binomtest(up, up + down, alternative="greater").pvalue)


def better_chance(hits: Float[Tensor, " sample"], chance: float) -> float:
    """One-sided p that samples are not told better than by chance (exact binomial test).

    It holds whatever the activations look like: where they say nothing of the class, hits on held-out samples are
    independent throws. (Hits of a probe of shuffled labels are not, since it lumps true classes together.)
    """
    return float(binomtest(int(hits.sum()), len(hits), chance, alternative="greater").pvalue)


def better_draws(difference: float, draws: Float[Tensor, " draw"]) -> float:
    """One-sided p of a difference of AUROCs by its bootstrap standard error (normal approximation)."""
    sd = float(draws.std())
    return float(norm.sf(difference / sd)) if sd > 0 else float(difference <= 0)


def holm(p: list[float]) -> list[float]:
    """Adjusted p-values of several tests (Holm 1979): the chance of any false claim stays below the level."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    out, worst = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[i]))
        out[i] = worst
    return out
