"""Is every part of a circuit needed? What the circuit loses without it, and what the model loses without it."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.discovery.circuit_parts import CircuitKind, PartSpace, parse_kind
from circuitkit.discovery.circuit_runs import CircuitRuns, runs_of
from circuitkit.discovery.resampled import Bootstrap, ci95
from circuitkit.interventions.circuit_runner import CircuitRunner


@dataclass(frozen=True, kw_only=True, eq=False)
class Minimality:
    """What removing each part of a circuit costs.

    Attributes:
        kind: What the circuit is made of.
        names: The parts measured.
        n_parts: How many parts the circuit has; more than were measured where there is a cap.
        losses: Fall of the circuit's logit difference without each part, in logits.
        drops: Fall of the model's logit difference without that part alone; None for edges.
        bootstrap: How prompts are drawn again for the intervals.
    """

    kind: CircuitKind
    names: tuple[str, ...]
    n_parts: int
    losses: Float[Tensor, "part prompt"]
    drops: Float[Tensor, "part prompt"] | None
    bootstrap: Bootstrap

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form: for each part its loss and drop in logits with 95% intervals, and how many are not needed.

        `n_not_needed` counts the parts whose loss is 0 or less; None where there is no part.
        """
        losses, loss_ci95 = self._column(self.losses)
        drops, drop_ci95 = [[None] * len(self.names)] * 2 if self.drops is None else self._column(self.drops)
        rows = zip(self.names, losses, loss_ci95, drops, drop_ci95, strict=True)
        return {
            "n_parts": self.n_parts,
            "n_measured": len(self.names),
            "mean_loss": sum(losses) / len(losses) if losses else None,
            "least_loss": min(losses) if losses else None,
            "least_needed": self.names[losses.index(min(losses))] if losses else None,
            "n_not_needed": sum(loss <= 0 for loss in losses) if losses else None,
            "parts": {
                name: {"loss": loss, "loss_ci95": loss_in, "drop": drop, "drop_ci95": drop_in}
                for name, loss, loss_in, drop, drop_in in rows
            },
        }

    def _column(self, values: Float[Tensor, "part prompt"]) -> tuple[list[Any], list[Any]]:
        if not len(values):
            return [], []
        means, draws = self.bootstrap.means(values)
        return means.tolist(), [None] * len(means) if draws is None else ci95(draws)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was not measured."""
        n = len(self.names)
        if n == self.n_parts:
            return ()
        return (f"Minimality was measured for {n} of the circuit's {self.n_parts} {self.kind}, drawn at random.",)


def minimality(
    runner: CircuitRunner | CircuitRuns,
    kept: Bool[Tensor, "receiver sender"],
    *,
    kind: CircuitKind | str = "edges",
    most: int = 200,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Minimality:
    """Remove every part from the circuit, and every node from the model: one circuit an edge, two a node, and one.

    The first is the minimality of Wang et al. 2023 (arXiv 2211.00593) with K empty; the second, a node ablated alone
    in the full model, is what Distilled Circuits says of its nodes.

    Args:
        runner: The model on its prompts.
        kept: The circuit's edges; for one of nodes `space.of_nodes(nodes)`.
        kind: What the circuit is made of.
        most: Where the circuit has more parts than this, so many are drawn at random, and a warning says so.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of the choice of parts and of the draws.
        progress: Called as the work advances; a unit is one circuit.

    Raises:
        OptionError: The runner does not measure logit differences, or an option is out of range.
    """
    if most < 1:
        raise OptionError(f"Minimality of at most {most} parts was asked for; give 1 or more.")
    settings, runs = Bootstrap(n_draws=bootstrap, seed=seed), runs_of(runner, progress)
    space = PartSpace(space=runs.space, kind=parse_kind(kind))
    circuit = space.parts(kept)
    inside = circuit.nonzero().squeeze(1)
    order = torch.randperm(len(inside), generator=torch.Generator().manual_seed(seed))
    chosen = inside[order[:most].sort().values]
    alone = torch.zeros(len(chosen), len(space), dtype=torch.bool)
    alone[torch.arange(len(chosen)), chosen] = True
    sets = [circuit[None], circuit & ~alone, *([~alone] if space.kind == "nodes" else [])]
    found = runs.logit_diffs(space, torch.cat(sets), stage="minimality")
    whole, without, rest = found[0], found[1 : 1 + len(chosen)], found[1 + len(chosen) :]
    return Minimality(
        kind=space.kind,
        names=tuple(space.names[i] for i in chosen.tolist()),
        n_parts=len(inside),
        losses=whole - without,
        drops=runs.runner.clean["logit_diff"] - rest if space.kind == "nodes" else None,
        bootstrap=settings,
    )
