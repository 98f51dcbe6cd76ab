"""What screening measured, what it estimated, and how far the estimates may be off."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.discovery.audit import PRIOR_WEIGHT


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Screen:
    """The record of a screened sweep.

    Attributes:
        exact: Components measured on every prompt; the others are estimated by gradients and corrected.
        deviation: What each mean drop may be off by, in logits, by audited prompt; see `Calibrated`.
        rank_correlation: Spearman's, between uncorrected gradient estimates and exact mean drops of the components
            measured exactly; None where it is undefined.
        saved: Share of the exact sweep's block evaluations that was not needed; a gradient of one prompt counts
            as three forward passes. Below 0 where screening had to measure everything.
    """

    exact: Bool[Tensor, " component"]
    deviation: Float[Tensor, "component audited"]
    rank_correlation: float | None
    saved: float

    @property
    def n_audited(self) -> int:
        """Prompts on which every component was measured."""
        return self.deviation.shape[1]

    @property
    def drop_error(self) -> float:
        """Root mean square of the standard errors of the estimated mean drops, in logits; 0 if all are exact."""
        estimated = self.deviation[~self.exact]
        return float(estimated.norm(dim=1).square().mean().sqrt()) if len(estimated) else 0.0

    def redraw(self, n: int, *, seed: int) -> Float[Tensor, "draw component"]:
        """Draws of what the mean drops may be off by, in logits; 0 for what was measured.

        Student's t, for the variances are estimated too. The errors of components go together as they did on the
        audited prompts, and so do those of two models audited on the same prompts and redrawn with one seed.

        Args:
            n: Number of draws.
            seed: Seed of the draws.
        """
        rng = np.random.default_rng(seed)
        freedom = PRIOR_WEIGHT + self.n_audited - 1
        weights = torch.from_numpy(rng.standard_normal((n, self.n_audited)))
        scale = torch.from_numpy(np.sqrt(freedom / rng.chisquare(freedom, (n, 1))))
        return scale * (weights @ self.deviation.double().T)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "n_exact": int(self.exact.sum()),
            "n_components": len(self.exact),
            "n_audited_prompts": self.n_audited,
            "rank_correlation": self.rank_correlation,
            "drop_error": self.drop_error,
            "saved": self.saved,
        }

    @classmethod
    def from_dict(
        cls,
        record: Mapping[str, Any],
        *,
        exact: Bool[Tensor, " component"],
        deviation: Float[Tensor, "component audited"],
    ) -> "Screen":
        """Read back what `to_dict` wrote."""
        return cls(exact=exact, deviation=deviation, rank_correlation=record["rank_correlation"], saved=record["saved"])

    def notice(self, n_prompts: int) -> str:
        """What must stand beside the numbers."""
        n = len(self.exact)
        if bool(self.exact.all()):
            return f"Influence screened: all {n} components had to be measured exactly; nothing was saved."
        rho, n_exact = self.rank_correlation, int(self.exact.sum())
        correlation = "" if rho is None else f" (rank correlation {rho:.2f} with exact)"
        saved = f"{100 * self.saved:.0f}% of the exact sweep saved" if self.saved > 0 else "nothing saved"
        return (
            f"Influence screened ({saved}): {n_exact} of {n} components measured exactly; the drops of the others are "
            f"estimated by gradients{correlation} and corrected by exact measurements on {self.n_audited} of "
            f"{n_prompts} prompts, standard error {self.drop_error:.2g} logits. --method exact measures all."
        )
