"""How faithful the circuits of all sizes are that an order of the edges or nodes gives: CPR and CMD."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.discovery.circuit_parts import CircuitKind, PartSpace, parse_kind
from circuitkit.discovery.circuit_runs import CircuitRuns, runs_of, together
from circuitkit.discovery.faithfulness import normalised
from circuitkit.discovery.resampled import Bootstrap, ci95, clearly_not_0
from circuitkit.discovery.select import without_dead_ends
from circuitkit.interventions.circuit_runner import CircuitRunner

SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of the edges or nodes at which MIB measures."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Logit differences of circuits of growing size.

    Attributes:
        kind: What the circuits are made of.
        sizes: Shares of all edges or nodes.
        n_parts: How many of the highest-scored those are; edges on no path to the logits are left out of the run.
        model: Logit difference of the intact model, in logits.
        corrupted: With every edge replaced.
        by_value: Of the circuits with the highest scores.
        by_magnitude: Of the circuits with the highest absolute scores.
        random: Of circuits in random orders; empty where none were asked for.
        bootstrap: How prompts are drawn again for the intervals.
    """

    kind: CircuitKind
    sizes: tuple[float, ...]
    n_parts: tuple[int, ...]
    model: Float[Tensor, " prompt"]
    corrupted: Float[Tensor, " prompt"]
    by_value: Float[Tensor, "size prompt"]
    by_magnitude: Float[Tensor, "size prompt"]
    random: Float[Tensor, "order size prompt"]
    bootstrap: Bootstrap

    @property
    def is_defined(self) -> bool:
        """Whether corruption clearly changes the model's logit difference (by two standard errors or more)."""
        return clearly_not_0(self.model - self.corrupted)

    @cached_property
    def _measured(self) -> tuple[Float[Tensor, " row"], Float[Tensor, "draw row"] | None]:
        rows = [self.model[None], self.corrupted[None], self.by_value, self.by_magnitude, self.random.flatten(0, 1)]
        return self.bootstrap.means(torch.cat(rows))

    def _faithfulness(self, means: Float[Tensor, "*draw row"]) -> Float[Tensor, "*draw order size"]:
        of_sizes = normalised(means[..., 2:], model=means[..., :1], corrupted=means[..., 1:2])
        return of_sizes.unflatten(-1, (-1, len(self.sizes)))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form: faithfulness at every size, its areas and their 95% intervals; None where undefined.

        With f the faithfulness of the circuit C_k of a share k of the parts,

            CPR = integral of f(C_k) dk,    CMD = integral of |1 - f(C_k)| dk    (k from 0 to 1)

        by the trapezoid rule over `sizes` (Mueller et al. 2025, "MIB", arXiv 2504.13151). CPR takes the highest scores
        first; CMD the highest absolute scores, for what hinders belongs to the model too. As MIB's sizes start at .001
        and not at 0, f = 1 throughout gives a CPR of .999 and a CMD of 0.
        """
        record: dict[str, Any] = {"sizes": list(self.sizes), "n_parts": list(self.n_parts)}
        means, draws = self._measured
        if not self.is_defined:
            names = ("faithfulness", "faithfulness_by_magnitude", "cpr", "cmd", "random")
            return {**record, **dict.fromkeys(names), "ci95": dict.fromkeys(("faithfulness", "cpr", "cmd"))}
        found = self._faithfulness(means)
        drawn = None if draws is None else self._faithfulness(draws)
        return {
            **record,
            "faithfulness": found[0].tolist(),
            "faithfulness_by_magnitude": found[1].tolist(),
            "cpr": area(self.sizes, found[0]).item(),
            "cmd": area(self.sizes, (1 - found[1]).abs()).item(),
            "random": self._random(found[2:]),
            "ci95": {
                "faithfulness": None if drawn is None else ci95(drawn[:, 0]),
                "cpr": None if drawn is None else ci95(area(self.sizes, drawn[:, 0])),
                "cmd": None if drawn is None else ci95(area(self.sizes, (1 - drawn[:, 1]).abs())),
            },
        }

    def _random(self, found: Float[Tensor, "order size"]) -> dict[str, Any] | None:
        if not len(found):
            return None
        return {
            "cpr": area(self.sizes, found).tolist(),
            "cmd": area(self.sizes, (1 - found).abs()).tolist(),
        }


def area(sizes: Sequence[float], heights: Float[Tensor, "*row size"]) -> Float[Tensor, "*row"]:
    """Area under a line from point to point (trapezoid rule)."""
    return torch.trapezoid(heights.double(), torch.tensor(sizes, dtype=torch.float64), dim=-1)


def highest(scores: Float[Tensor, " part"], sizes: Sequence[float]) -> Bool[Tensor, "size part"]:
    """The parts of the highest scores: `int(size * n)` of them, as in MIB; of equal scores the first."""
    rank = torch.empty(len(scores), dtype=torch.long)
    rank[scores.argsort(descending=True, stable=True)] = torch.arange(len(scores))
    return rank < torch.tensor([int(size * len(scores)) for size in sizes])[:, None]


def curve(
    runner: CircuitRunner | CircuitRuns,
    scores: Float[Tensor, "*part"],
    *,
    kind: CircuitKind | str = "edges",
    sizes: Sequence[float] = SIZES,
    n_random: int = 0,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Curve:
    """Run the circuits of several sizes: one a size, twice so many where some scores are negative, and one more.

    As in MIB, edges on no path from the embedding to the logits are dropped from a circuit after the choice.

    Args:
        runner: The model on its prompts.
        scores: How much each part helps: [receiver, sender] for edges, [component] for nodes.
        kind: What the circuits are made of.
        sizes: Shares of all parts, ascending, above 0 and at most 1.
        n_random: Random orders to compare with; one circuit a size each.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of the random orders and of the draws.
        progress: Called as the work advances; a unit is one circuit.

    Raises:
        OptionError: Scores do not fit the model, the runner does not measure logit differences, or an option is out
            of range.
    """
    sizes = _checked(sizes, n_random)
    settings, runs = Bootstrap(n_draws=bootstrap, seed=seed), runs_of(runner, progress)
    space = PartSpace(space=runs.space, kind=parse_kind(kind))
    value, generator = space.scores(scores), torch.Generator().manual_seed(seed)
    orders = [value, value.abs(), *(torch.rand(len(space), generator=generator) for _ in range(n_random))]
    chosen = [highest(order, sizes) for order in orders]
    grown = (_circuit(space, parts) for rows in chosen for parts in rows)
    circuits = chain([torch.zeros_like(runs.space.possible)], grown)
    n = 1 + len(orders) * len(sizes)
    found = runs.logit_diffs_of(circuits, n, stage="curve", at_once=together(space.kind))
    by_order = found[1:].unflatten(0, (len(orders), len(sizes)))
    return Curve(
        kind=space.kind,
        sizes=sizes,
        n_parts=tuple(int(n) for n in chosen[0].sum(1)),
        model=runs.runner.clean["logit_diff"],
        corrupted=found[0],
        by_value=by_order[0],
        by_magnitude=by_order[1],
        random=by_order[2:],
        bootstrap=settings,
    )


def _circuit(space: PartSpace, parts: Bool[Tensor, " part"]) -> Bool[Tensor, "receiver sender"]:
    kept = space.mask(parts)
    return without_dead_ends(space.space, kept) if space.kind == "edges" else kept


def _checked(sizes: Sequence[float], n_random: int) -> tuple[float, ...]:
    if len(sizes) < 2 or list(sizes) != sorted(set(sizes)) or sizes[0] <= 0 or sizes[-1] > 1:
        raise OptionError(
            f"Circuit sizes {', '.join(f'{size:g}' for size in sizes) or '(none)'} were given; give two or more "
            "ascending shares above 0 and at most 1."
        )
    if n_random < 0:
        raise OptionError(f"{n_random} random orders were asked for; give 0 for none, or a positive number.")
    return tuple(sizes)
