"""What stands beside principal components: intervals over prompts, and what chance alone gives."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval

Ends = tuple[float, float]
SHUFFLES = 20
"""Shuffled matrices of the parallel analysis, each decomposed anew."""
PERMUTATIONS = 500
_TINY = 1e-12


def variance_intervals(
    vectors: Float[Tensor, "prompt d_model"],
    coordinates: Float[Tensor, "prompt direction"],
    weights: BootstrapWeights | None,
) -> list[Ends | None]:
    """Intervals of the share of variance along each direction; the directions stay as they were found.

    Args:
        vectors: The vectors.
        coordinates: The same along the directions, the mean taken off.
        weights: Draws of prompts; None for no intervals.
    """
    n = coordinates.shape[1]
    centred = vectors.double() - vectors.double().mean(0)
    if weights is None or not bool(centred.abs().max() > _TINY):
        return [None] * n
    along = coordinates.double().T
    own = weights.means(along.square()) - weights.means(along).square()
    total = weights.means(centred.square().sum(1)) - weights.means(centred.T).square().sum(1)
    if bool((total <= _TINY).any()):  # a draw of one prompt only
        return [None] * n
    low, high = percentile_interval(own / total[:, None])
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def shuffled_variance(
    vectors: Float[Tensor, "prompt d_model"], n_directions: int, *, seed: int
) -> Float[Tensor, "shuffle direction"]:
    """Shares of variance along the leading directions when every coordinate is shuffled over prompts by itself.

    Horn's parallel analysis (1965): coordinates keep their variances and lose what they have in common.

    Args:
        vectors: The vectors.
        n_directions: How many shares.
        seed: Seed of the shuffles.
    """
    generator = torch.Generator().manual_seed(seed)
    x = vectors.double() - vectors.double().mean(0)
    total = x.square().sum()
    found = torch.zeros(SHUFFLES, n_directions, dtype=torch.float64)
    if total <= _TINY:
        return found
    for i in range(SHUFFLES):
        order = torch.rand(x.shape, generator=generator).argsort(0)
        mixed = x.gather(0, order)
        gram = mixed @ mixed.T if len(mixed) < mixed.shape[1] else mixed.T @ mixed
        found[i] = torch.linalg.eigvalsh(gram).flip(0)[:n_directions] / total
    return found


def canonical(
    one: Float[Tensor, "*draw prompt two"], other: Float[Tensor, "*draw prompt two"]
) -> Float[Tensor, "*draw"]:
    """First canonical correlation of two planes of coordinates (Hotelling 1936), 0 to 1; centred, of full rank."""
    bases = [torch.linalg.qr(x - x.mean(-2, keepdim=True)).Q for x in (one, other)]
    return torch.linalg.svdvals(bases[0].mT @ bases[1])[..., 0].clamp(max=1)


def plane_agreement(
    one: Float[Tensor, "prompt two"], other: Float[Tensor, "prompt two"], *, seed: int
) -> tuple[float, float, float] | None:
    """First canonical correlation, its mean when prompts are mismatched at random, and the share of those as high.

    None where a plane has fewer than two directions, or there are fewer than four prompts.

    Args:
        one: The teacher's coordinates.
        other: The student's.
        seed: Seed of the permutations.
    """
    if not _is_plane(one) or not _is_plane(other):
        return None
    a, b = one.double(), other.double()
    value = float(canonical(a, b))
    orders = _permutations(len(a), seed)
    null = canonical(a.expand(PERMUTATIONS, -1, -1), b[orders])
    return value, float(null.mean()), _p(int((null >= value - _TINY).sum()))


def canonical_with(one: Float[Tensor, "prompt two"], others: Float[Tensor, "mlp prompt two"]) -> Float[Tensor, " mlp"]:
    """First canonical correlation of a plane with each of others; not a number where either is no plane."""
    found = torch.full((len(others),), torch.nan, dtype=torch.float64)
    for i, other in enumerate(others):
        if _is_plane(one) and _is_plane(other):
            found[i] = canonical(one.double(), other.double())
    return found


def _is_plane(points: Float[Tensor, "prompt direction"]) -> bool:
    x = points.double() - points.double().mean(0)
    return x.shape[1] == 2 and len(x) > 3 and int(torch.linalg.matrix_rank(x)) == 2


def plane_interval(
    one: Float[Tensor, "prompt two"], other: Float[Tensor, "prompt two"], weights: BootstrapWeights | None
) -> Ends | None:
    """Interval of the first canonical correlation, prompts resampled; None where a draw has none."""
    if weights is None:
        return None
    both = torch.cat([one, other], 1).double()
    both = (both - both.mean(0)) / both.std(0)
    mean = weights.means(both.T)
    products = weights.means((both[:, :, None] * both[:, None]).movedim(0, -1))
    covariance = products - mean[:, :, None] * mean[:, None]
    own, other_, cross = covariance[:, :2, :2], covariance[:, 2:, 2:], covariance[:, :2, 2:]
    if bool((torch.linalg.eigvalsh(torch.cat([own, other_]))[:, 0] < _TINY).any()):
        return None
    left, right = torch.linalg.cholesky(own), torch.linalg.cholesky(other_)
    half = torch.linalg.solve_triangular(left, cross, upper=False)
    whitened = torch.linalg.solve_triangular(right, half.mT, upper=False)
    low, high = percentile_interval(torch.linalg.svdvals(whitened)[:, 0].clamp(max=1))
    return float(low), float(high)


def between_groups(
    coordinates: Float[Tensor, "prompt two"], groups: Sequence[str], *, seed: int
) -> tuple[float, float, float] | None:
    """Share of the variance that lies between groups, its mean under shuffled groups, and the share of those as high.

    None where all are of one group, or each of its own, or nothing varies.

    Args:
        coordinates: Where the prompts are.
        groups: The group of each.
        seed: Seed of the shuffles.
    """
    names = sorted(set(groups))
    x = coordinates.double() - coordinates.double().mean(0)
    total = x.square().sum()
    if not 1 < len(names) < len(groups) or total <= _TINY:
        return None
    member = torch.tensor([[group == name for group in groups] for name in names]).double()
    counts = member.sum(1)

    def between(points: Float[Tensor, "*draw prompt two"]) -> Float[Tensor, "*draw"]:
        means = member @ points / counts[:, None]
        return (means.square().sum(-1) * counts).sum(-1) / total

    value = float(between(x))
    null = between(x[_permutations(len(x), seed)])
    return value, float(null.mean()), _p(int((null >= value - _TINY).sum()))


def _permutations(n: int, seed: int) -> Int[Tensor, "draw prompt"]:
    return torch.rand(PERMUTATIONS, n, generator=torch.Generator().manual_seed(seed)).argsort(1)


def _p(n_as_high: int) -> float:
    """Phipson & Smyth 2010: what was found counts as one of the draws, so that it is never 0."""
    return (1 + n_as_high) / (1 + PERMUTATIONS)
