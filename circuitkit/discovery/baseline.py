"""Can the model do the task at all? The intact model's logit difference with its uncertainty."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Logit difference of the intact model, in logits.

    Attributes:
        mean: Mean over prompts.
        ci95: Percentile bootstrap interval of the mean; None when intervals are off, or for one prompt.
        accuracy: Share of prompts with the correct answer above the incorrect one.
        clear: Whether the mean lies at least two standard errors above 0. Where it does not, or where one
            prompt has no standard error, percentages of it mean nothing and are not given.
        n_prompts: How many prompts it is of.
    """

    mean: float
    ci95: tuple[float, float] | None
    accuracy: float
    clear: bool
    n_prompts: int

    def warning(self, name: str) -> str | None:
        """The plain sentence that a reader must see where it is not clear that the model does the task, else None."""
        if self.clear:
            return None
        if self.n_prompts == 1:
            return (
                f"One prompt cannot show whether {name} does this task: its logit difference, {self.mean:.2f}, has no "
                "standard error. Percentages of it and intervals are not given."
            )
        return (
            f"{name} does not do this task: its mean logit difference, {self.mean:.2f}, is not clearly above "
            "0. Percentages of it are not given, and influences say little."
        )


def measure_baseline(clean: Float[Tensor, " prompt"], weights: BootstrapWeights | None) -> Baseline:
    """Summarise per-prompt logit differences.

    Args:
        clean: Logit difference per prompt.
        weights: Bootstrap weights over the same prompts, or None for no interval.
    """
    values = clean.double()
    mean = values.mean().item()
    error = values.std().item() / len(values) ** 0.5 if len(values) > 1 else float("inf")
    interval = None
    if weights is not None:
        low, high = percentile_interval(weights.means(values))
        interval = (low.item(), high.item())
    accuracy = (values > 0).double().mean().item()
    return Baseline(
        mean=mean, ci95=interval, accuracy=accuracy, clear=mean > 0 and mean >= 2 * error, n_prompts=len(values)
    )
