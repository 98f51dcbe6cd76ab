"""Means over prompts with their bootstrap draws, and what is clear about them."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from circuitkit.core.bootstrap import bootstrap_weights, percentile_interval, prompt_means
from circuitkit.core.errors import OptionError
from circuitkit.core.seeds import check_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """How prompts are drawn again; figures made with equal settings are resampled together.

    Attributes:
        n_draws: Draws; 0 for no intervals.
        seed: Seed of the draws.
    """

    n_draws: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.n_draws < 0:
            raise OptionError(
                f"{self.n_draws} bootstrap draws were asked for; give 0 for no intervals, or a positive number."
            )

    def means(
        self, values: Float[Tensor, "row prompt"]
    ) -> tuple[Float[Tensor, " row"], Float[Tensor, "draw row"] | None]:
        """Mean of every row and, where there are intervals, its draws (float64); one prompt has none."""
        weights = bootstrap_weights(values.shape[1], n_draws=self.n_draws, seed=self.seed)
        return prompt_means(values), None if weights is None else weights.means(values)


def ci95(draws: Float[Tensor, "draw *row"] | None) -> Any:  # noqa: ANN401 - nested as deep as there are rows
    """Lower and upper bounds [lo, hi] as plain lists, one pair a row.

    None without draws, or where a draw is not finite: a ratio whose denominator can be 0 has no interval.
    """
    if draws is None or not bool(draws.isfinite().all()):
        return None
    low, high = percentile_interval(draws)
    if low.ndim == 0:
        return [low.item(), high.item()]
    return [list(pair) for pair in zip(low.tolist(), high.tolist(), strict=True)]


def clearly_not_0(values: Float[Tensor, " prompt"]) -> bool:
    """Whether the mean lies at least two standard errors from 0; never for one prompt, which has none."""
    if len(values) < 2:
        return False
    values = values.double()
    mean, error = values.mean().item(), values.std().item() / len(values) ** 0.5
    return mean != 0 and abs(mean) >= 2 * error
