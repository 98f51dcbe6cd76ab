"""Does the circuit hold everything that does the task? Taking parts of it away should hurt it as it hurts the model."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.discovery.circuit_parts import CircuitKind, PartSpace, parse_kind
from circuitkit.discovery.circuit_runs import CircuitRuns, runs_of, together
from circuitkit.discovery.resampled import Bootstrap, ci95
from circuitkit.interventions.circuit_runner import CircuitRunner


@dataclass(frozen=True, kw_only=True, eq=False)
class Completeness:
    """Logit differences with random parts of the circuit removed, from the circuit and from the model.

    Attributes:
        removed: How many parts each subset holds.
        circuit: Of the circuit without each subset, in logits.
        model: Of the model without each subset.
        bootstrap: How prompts are drawn again for the intervals.
    """

    removed: tuple[int, ...]
    circuit: Float[Tensor, "subset prompt"]
    model: Float[Tensor, "subset prompt"]
    bootstrap: Bootstrap

    @cached_property
    def _differences(self) -> tuple[Float[Tensor, " subset"], Float[Tensor, "draw subset"] | None]:
        means, draws = self.bootstrap.means(self.circuit - self.model)
        return means.abs(), None if draws is None else draws.abs()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form: mean and greatest |F(C without K) - F(M without K)| in logits, with 95% intervals.

        F is the mean logit difference over prompts; the smaller, the more complete the circuit. As absolute values
        only grow by noise, the intervals may lie above 0 even for a complete circuit on few prompts.
        """
        means, draws = self._differences
        return {
            "n_subsets": len(means),
            "mean_difference": means.mean().item(),
            "max_difference": means.max().item(),
            "removed": list(self.removed),
            "differences": means.tolist(),
            "ci95": {
                "mean_difference": None if draws is None else ci95(draws.mean(1)),
                "max_difference": None if draws is None else ci95(draws.amax(1)),
            },
        }


def completeness(
    runner: CircuitRunner | CircuitRuns,
    kept: Bool[Tensor, "receiver sender"],
    *,
    kind: CircuitKind | str = "edges",
    n_subsets: int = 10,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Completeness:
    """Compare circuit and model without random subsets K of the circuit: two circuits a subset.

    |F(C without K) - F(M without K)| for K drawn uniformly among the subsets of the circuit C, each part with
    probability 1/2 (Wang et al. 2023, arXiv 2211.00593, section 4; their greedy search for the worst K is not run).
    K = C, the whole circuit, is measured by `faithfulness`.

    Args:
        runner: The model on its prompts.
        kept: The circuit's edges; for one of nodes `space.of_nodes(nodes)`.
        kind: What the circuit is made of.
        n_subsets: How many subsets.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of the subsets and of the draws.
        progress: Called as the work advances; a unit is one circuit.

    Raises:
        OptionError: The runner does not measure logit differences, or an option is out of range.
    """
    if n_subsets < 1:
        raise OptionError(f"{n_subsets} subsets were asked for; give 1 or more.")
    settings, runs = Bootstrap(n_draws=bootstrap, seed=seed), runs_of(runner, progress)
    space = PartSpace(space=runs.space, kind=parse_kind(kind))
    circuit = space.parts(kept)
    coins = torch.randint(2, (n_subsets, len(space)), generator=torch.Generator().manual_seed(seed)).bool()
    subsets = coins & circuit
    sets = torch.cat([circuit & ~subsets, ~subsets])
    found = runs.logit_diffs(space, sets, stage="completeness", at_once=together(space.kind))
    return Completeness(
        removed=tuple(int(n) for n in subsets.sum(1)),
        circuit=found[:n_subsets],
        model=found[n_subsets:],
        bootstrap=settings,
    )
