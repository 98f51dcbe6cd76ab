"""Covariances of activations that are seen a few prompts at a time."""

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDING = 1e-13


class CovarianceSum:
    """Adds up pairs of activations, and their products, in float64; several pairs of components at once.

    Args:
        n: Number of pairs of components.
        width_a: Width of the first of each pair.
        width_b: Width of the second.
        device: Where the sums are kept.
    """

    def __init__(self, n: int, width_a: int, width_b: int, device: torch.device) -> None:
        self.count = 0
        self.sum_a = torch.zeros(n, width_a, dtype=torch.float64, device=device)
        self.sum_b = torch.zeros(n, width_b, dtype=torch.float64, device=device)
        self.products = torch.zeros(n, width_a, width_b, dtype=torch.float64, device=device)

    def __len__(self) -> int:
        return len(self.products)

    def add(self, a: Float[Tensor, "pair unit width_a"], b: Float[Tensor, "pair unit width_b"]) -> None:
        """Take in the same units of both sides."""
        self.count += a.shape[1]
        self.sum_a += a.sum(1)
        self.sum_b += b.sum(1)
        self.products.baddbmm_(a.mT, b)

    def covariance(self, pair: int, rows: slice = slice(None)) -> Float[Tensor, "some_a width_b"]:
        """Mean product of the deviations from the mean, over all units seen (divided by their number).

        What is no more than rounding beside the products of the means is 0: constant outputs have none.
        Asking for some rows only keeps copies of wide matrices small.

        Args:
            pair: Which pair of components.
            rows: Which parts of the first of them.
        """
        means = torch.outer(self.sum_a[pair, rows] / self.count, self.sum_b[pair] / self.count)
        covariance = self.products[pair, rows] / self.count - means
        return covariance.where(covariance.abs() > ROUNDING * means.abs(), 0.0)
