"""Percentile bootstrap over prompts, vectorised: the same weights serve every figure of a run."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK_BYTES = 8 * 2**20
"""What a block of draws, or of rows in float64, may take: memory must not grow with draws times prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapWeights:
    """Share of each prompt in each bootstrap draw, made a few draws at a time whenever it is multiplied with.

    Figures that are multiplied with the same weights are resampled together, prompt by prompt.

    Attributes:
        n_prompts: Number of prompts to draw from, with replacement.
        n_draws: Number of draws.
        seed: Seed of the draws.
    """

    n_prompts: int
    n_draws: int
    seed: int

    def blocks(self, *, block_bytes: int = BLOCK_BYTES) -> Iterator[Float[Tensor, "some_draw prompt"]]:
        """The weights (float64; rows sum to 1), block after block; one draw at a time at the least.

        They do not depend on how large the blocks are.
        """
        generator = torch.Generator().manual_seed(self.seed)
        one = torch.ones((), dtype=torch.float64)
        at_once = max(1, block_bytes // (16 * self.n_prompts))  # an index and a weight, 8 bytes each
        for start in range(0, self.n_draws, at_once):
            shape = min(at_once, self.n_draws - start), self.n_prompts
            drawn = torch.randint(self.n_prompts, shape, generator=generator)
            yield torch.zeros(shape, dtype=torch.float64).scatter_add_(1, drawn, one.expand(shape)).div_(self.n_prompts)

    def means(
        self, values: Float[Tensor, "*row prompt"], *, block_bytes: int = BLOCK_BYTES
    ) -> Float[Tensor, "draw *row"]:
        """Mean of every row of values in every draw (float64).

        Args:
            values: Per-prompt values; any number of axes may come before that of the prompts.
            block_bytes: Memory to work in; means may differ by rounding only.
        """
        rows = values.reshape(-1, self.n_prompts)
        out = torch.empty(self.n_draws, len(rows), dtype=torch.float64)
        start = 0
        for weights in self.blocks(block_bytes=block_bytes):
            first = 0
            for some in _row_blocks(rows, block_bytes):
                out[start : start + len(weights), first : first + len(some)] = weights @ some.double().T
                first += len(some)
            start += len(weights)
        return out.reshape(self.n_draws, *values.shape[:-1])


def bootstrap_weights(n_prompts: int, *, n_draws: int, seed: int) -> BootstrapWeights | None:
    """The draws behind intervals, or None where there are none: not asked for, or of fewer than two prompts.

    Every draw of a single prompt is that prompt: its interval would be a point, and look like certainty.
    """
    if not n_draws or n_prompts < 2:
        return None
    return BootstrapWeights(n_prompts=n_prompts, n_draws=n_draws, seed=seed)


def prompt_means(values: Float[Tensor, "row prompt"], *, block_bytes: int = BLOCK_BYTES) -> Float[Tensor, " row"]:
    """Mean of every row (float64), without a copy of all values in float64."""
    return torch.cat([some.double().mean(1) for some in _row_blocks(values, block_bytes)])


def _row_blocks(values: Float[Tensor, "row prompt"], block_bytes: int) -> tuple[Float[Tensor, "some_row prompt"], ...]:
    return values.split(max(1, block_bytes // (8 * max(1, values.shape[1]))))


def percentile_interval(
    draws: Float[Tensor, "draw *rest"], *, level: float = 0.95
) -> tuple[Float[Tensor, "*rest"], Float[Tensor, "*rest"]]:
    """Lower and upper bound of the percentile interval along the first axis.

    Efron & Tibshirani 1993, chapter 13.
    """
    tail = (1 - level) / 2
    low, high = torch.quantile(draws.double(), torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=0)
    return low, high
