"""From estimates and a few exact measurements to calibrated drops, and to what must be measured on every prompt."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.discovery.normalize import Normalize, Sign

LEAST_AUDITED, MOST_AUDITED, AUDITED_SHARE = 8, 24, 1 / 16
PRIOR_WEIGHT = 6
"""Degrees of freedom of the spread expected from the estimates; a few prompts alone miss outliers."""
MATTERS = 0.05
"""Influence from which on a component matters by itself, and must not be an estimate."""
TOLERANCE = 0.001
"""Standard error of a model's mean influence that estimates may leave."""
MAY_BE_GREATEST, MAY_MATTER = 2.5, 2.0
"""Standard errors within which a component may be the most influential, or may matter."""
WORTH_IT = 0.75
"""Share of the whole sweep above which all of it is run."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibrated:
    """Drops of every component: exact where measured, else estimated.

    Attributes:
        drops: Fall of the logit difference per component and prompt, in logits.
        deviation: What a mean drop may be off by, in logits: with independent standard normal weights w of the
            audited prompts, `deviation @ w` is a draw of the errors of all means. 0 where measured.
        exact: Components that are measured on every prompt.
    """

    drops: Float[Tensor, "component prompt"]
    deviation: Float[Tensor, "component audited"]
    exact: Bool[Tensor, " component"]

    @property
    def standard_error(self) -> Float[Tensor, " component"]:
        """Of each mean drop, in logits."""
        return self.deviation.norm(dim=1)

    def measured(self, components: Bool[Tensor, " component"], drops: Float[Tensor, "measured prompt"]) -> "Calibrated":
        """The same with some components measured on every prompt."""
        return Calibrated(
            drops=self.drops.masked_scatter(components[:, None], drops.to(self.drops.dtype)),
            deviation=self.deviation.masked_fill(components[:, None], 0),
            exact=self.exact | components,
        )


def audited_prompts(n_prompts: int, *, seed: int) -> Int[Tensor, " audited"]:
    """The prompts on which every component is measured: one in 16 at random, at least 8, at most 24."""
    wanted = min(max(LEAST_AUDITED, round(n_prompts * AUDITED_SHARE)), MOST_AUDITED, n_prompts)
    order = torch.randperm(n_prompts, generator=torch.Generator().manual_seed(seed))
    return order[:wanted].sort().values


def calibrate(
    estimated: Float[Tensor, "component prompt"],
    audit: Float[Tensor, "component audited"],
    audited: Int[Tensor, " audited"],
    is_mlp: Bool[Tensor, " component"],
) -> Calibrated:
    """Correct first-order estimates by exact measurements on a random sample of the prompts.

    The estimate serves as a control variate: exact = slope x estimate + a constant of each component + a residual,
    where heads share one slope and MLPs another, between 0 (the estimate says nothing) and 1; the error of the
    mean over all prompts follows from the residuals of the sample (the regression estimator with its
    finite-population correction: Cochran 1977, Sampling Techniques, chapter 7). Outliers may be missing among so
    few: where a component's residual variance is below what the variance of its estimates over all prompts lets
    expect, it is drawn towards that.

    Args:
        estimated: Estimated drops, in logits.
        audit: Exact drops on the audited prompts, in logits.
        audited: Which prompts those are.
        is_mlp: Which components are MLPs.
    """
    estimated, audit = estimated.double(), audit.double()
    n_audited, n_prompts = len(audited), estimated.shape[1]
    freedom = max(n_audited - 1, 1)
    at, slope = estimated[:, audited], torch.zeros(len(estimated), 1, dtype=torch.float64)
    for kind in (is_mlp, ~is_mlp):
        slope[kind] = _slope(at[kind], audit[kind])
    residual = audit - slope * at
    constant = residual.mean(1, keepdim=True)
    own = (residual - constant).square().sum(1, keepdim=True) / freedom
    spread, expected = estimated.var(1, correction=0, keepdim=True), torch.zeros_like(own)
    for kind in (is_mlp, ~is_mlp):
        expected[kind] = spread[kind] * (own[kind].sum() / spread[kind].sum().clamp(min=1e-12))
    moderated = (PRIOR_WEIGHT * expected + freedom * own) / (PRIOR_WEIGHT + freedom)
    stretch = (
        torch.where(own > 0, moderated / own, 1.0).clamp(min=1) * (1 - n_audited / n_prompts) / (n_audited * freedom)
    )
    drops = slope * estimated + constant
    drops[:, audited] = audit
    return Calibrated(
        drops=drops,
        deviation=(residual - constant) * stretch.sqrt(),
        exact=torch.full((len(estimated),), n_audited == n_prompts),
    )


def _slope(estimated: Float[Tensor, "component audited"], exact: Float[Tensor, "component audited"]) -> float:
    x, y = (value - value.mean(1, keepdim=True) for value in (estimated, exact))
    spread = float(x.square().sum())
    return min(max(float((x * y).sum()) / spread, 0.0), 1.0) if spread > 0 else 0.0


def to_measure(
    found: Calibrated, cost: Float[Tensor, " component"], *, normalize: Normalize, sign: Sign, audited_share: float
) -> Bool[Tensor, " component"]:
    """The components that must still be measured on every prompt; none when the estimates are good enough.

    Those that may be the most influential, as all others are divided by it; those that may matter by
    themselves; then those whose uncertainty is greatest for their cost, until the standard error of the mean
    influence is `TOLERANCE`. Where that comes near the cost of the whole sweep, everything.

    Args:
        found: What is known so far.
        cost: Block evaluations of each component on one prompt.
        normalize: How drops will be scaled to influences.
        sign: How components count whose ablation helps.
        audited_share: Share of the prompts on which everything is measured already.
    """
    means, error = found.drops.mean(1), found.standard_error
    size = means.abs() if sign == "abs" else means
    counted = size.clamp(min=0)
    scale = (counted.max() if normalize == "max" else counted.norm(p=1 if normalize == "l1" else 2)).clamp(min=1e-12)
    wanted = (size + MAY_BE_GREATEST * error >= size.max()) | (size + MAY_MATTER * error >= MATTERS * scale)
    unknown = ~(found.exact | wanted) & (size + MAY_MATTER * error > 0)
    left = torch.where(unknown, error / scale, 0.0).square()
    order = (left / cost).argsort(descending=True, stable=True)
    behind = left[order].flip(0).cumsum(0).flip(0)  # what stays if nothing from here on is measured
    wanted[order[behind.sqrt() / len(means) > TOLERANCE]] = True
    wanted &= ~found.exact
    share = audited_share + (1 - audited_share) * float(cost[wanted | found.exact].sum() / cost.sum())
    return ~found.exact if bool(wanted.any()) and share > WORTH_IT else wanted
