"""Everything that says how good a circuit is, in one call that runs no circuit twice."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.progress import Progress, silent
from circuitkit.discovery.circuit_parts import CircuitKind
from circuitkit.discovery.circuit_runs import CircuitRuns, runs_of
from circuitkit.discovery.completeness import Completeness, completeness
from circuitkit.discovery.curve import Curve, curve
from circuitkit.discovery.faithfulness import Faithfulness, faithfulness
from circuitkit.discovery.minimality import Minimality, minimality
from circuitkit.interventions.circuit_runner import CircuitRunner


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """How good a circuit is.

    Attributes:
        faithfulness: The circuit, the model without it, and the model with nothing kept.
        completeness: Random parts taken from the circuit and from the model; None where not asked for.
        minimality: Every part removed in turn; None where not asked for.
        curve: Circuits of all sizes; None without scores.
        evaluations: How many circuits were run.
    """

    faithfulness: Faithfulness
    completeness: Completeness | None
    minimality: Minimality | None
    curve: Curve | None
    evaluations: int

    def to_dict(self) -> dict[str, Any]:
        """What stands under `faithfulness` in the JSON of a circuit."""
        parts = {"completeness": self.completeness, "minimality": self.minimality, "curve": self.curve}
        return {
            **self.faithfulness.to_dict(),
            **{name: None if part is None else part.to_dict() for name, part in parts.items()},
            "evaluations": self.evaluations,
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must see beside the numbers."""
        return (*self.faithfulness.warnings, *(self.minimality.warnings if self.minimality else ()))


def judge(
    runner: CircuitRunner | CircuitRuns,
    kept: Bool[Tensor, "receiver sender"],
    *,
    kind: CircuitKind | str = "edges",
    scores: Float[Tensor, "*part"] | None = None,
    n_subsets: int = 10,
    most_removed: int = 200,
    n_random: int = 0,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Judgement:
    """Measure faithfulness, completeness, minimality and, with scores, the curve over circuit sizes.

    That takes 3 circuits, 2 a subset, 1 a part of the circuit (2 a node), and 10 to 20 for the curve (10 more a random
    order); those that are the same are run once.

    Args:
        runner: The model on its prompts; measures `logit_diff`, and `kl` and `top1` if these are wanted.
        kept: The circuit's edges; for one of nodes `space.of_nodes(nodes)`.
        kind: What the circuit is made of.
        scores: What the circuit was chosen by, [receiver, sender] for edges and [component] for nodes.
        n_subsets: Random subsets for completeness; 0 leaves it out.
        most_removed: Parts to remove in turn for minimality, drawn at random where there are more; 0 leaves it out.
        n_random: Random orders to compare the curve with.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of everything random.
        progress: Called as each stage advances; a unit is one circuit.

    Raises:
        OptionError: The runner does not measure logit differences, `kept` or the scores do not fit its model, or an
            option is out of range.
    """
    runs = runs_of(runner, progress)
    before = runs.n_run
    found = faithfulness(runs, kept, kind=kind, bootstrap=bootstrap, seed=seed)
    whole, smaller, sized = None, None, None
    if n_subsets:
        whole = completeness(runs, kept, kind=kind, n_subsets=n_subsets, bootstrap=bootstrap, seed=seed)
    if most_removed:
        smaller = minimality(runs, kept, kind=kind, most=most_removed, bootstrap=bootstrap, seed=seed)
    if scores is not None:
        sized = curve(runs, scores, kind=kind, n_random=n_random, bootstrap=bootstrap, seed=seed)
    return Judgement(
        faithfulness=found,
        completeness=whole,
        minimality=smaller,
        curve=sized,
        evaluations=runs.n_run - before,
    )
