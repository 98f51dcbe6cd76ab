"""How far a model's answer falls without a component: in logits, and in percent of what the whole model does."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights
from circuitkit.core.component import Component
from circuitkit.core.edge import Sender
from circuitkit.core.progress import Progress
from circuitkit.discovery.baseline import measure_baseline
from circuitkit.discovery.circuit import Circuit
from circuitkit.discovery.circuit_runs import CircuitRuns, together
from circuitkit.discovery.resampled import ci95
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import replace_components
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


@dataclass(frozen=True, kw_only=True, eq=False)
class Drop:
    """What is lost without something, on every prompt.

    Attributes:
        whole: Logit difference of the intact model, in logits.
        fall: How far a logit difference falls, in logits; positive: what is missing helped.
        weights: Share of each prompt in each bootstrap draw; None for no intervals.
    """

    whole: Float[Tensor, " prompt"]
    fall: Float[Tensor, " prompt"]
    weights: BootstrapWeights | None

    @cached_property
    def points(self) -> float | None:
        """Mean fall in percent of the mean of `whole`, not clipped; None where that is not clearly above 0."""
        if not measure_baseline(self.whole, None).clear:
            return None
        return 100 * self.fall.double().mean().item() / self.whole.double().mean().item()

    @cached_property
    def drawn(self) -> Float[Tensor, " draw"] | None:
        """Points of every draw, the whole model drawn along; None without points, or where a draw has no baseline."""
        if self.points is None or self.weights is None:
            return None
        baselines = self.weights.means(self.whole)
        return 100 * self.weights.means(self.fall) / baselines if bool((baselines > 0).all()) else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form: the mean in logits and in points, with 95% bootstrap intervals over prompts."""
        return {
            "logits": self.fall.double().mean().item(),
            "logits_ci95": None if self.weights is None else ci95(self.weights.means(self.fall)),
            "points": self.points,
            "points_ci95": ci95(self.drawn),
        }


def more_in_student(teacher: Drop | None, student: Drop | None) -> dict[str, Any] | None:
    """Points that the student loses more than the teacher, both resampled by the same prompts; None without either."""
    if teacher is None or student is None or teacher.points is None or student.points is None:
        return None
    both = None if teacher.drawn is None or student.drawn is None else student.drawn - teacher.drawn
    return {"points": student.points - teacher.points, "points_ci95": ci95(both)}


def drops_together(
    model: HookedModel,
    batch: PromptBatch,
    groups: Sequence[Collection[Component]],
    *,
    ablation: Ablation,
    batch_size: BatchSize,
    weights: BootstrapWeights | None,
    progress: Progress,
) -> list[Drop]:
    """Fall of the whole model's logit difference with the components of a group ablated together.

    Args:
        model: The model.
        batch: The prompts.
        groups: Components each; none is empty.
        ablation: What replaces them.
        batch_size: Rows run at a time.
        weights: Share of each prompt in each bootstrap draw; None for no intervals.
        progress: Called as the work advances.

    Raises:
        OptionError: The ablation cannot be done on these prompts, or memory is short.
        ModelError: Logits are not finite.
    """
    if not groups:
        return []
    interventions = [replace_components(*group) for group in groups]
    runs = run_interventions(
        model, batch, interventions, source=ablation, batch_size=batch_size, stage="whole roles", progress=progress
    )
    return [Drop(whole=runs.clean, fall=runs.clean - changed, weights=weights) for changed in runs.changed]


def drops_from_circuit(
    model: HookedModel,
    batch: PromptBatch,
    circuit: Circuit,
    components: Collection[Component],
    *,
    ablation: Ablation,
    batch_size: BatchSize,
    weights: BootstrapWeights | None,
    progress: Progress,
) -> dict[Component, Drop]:
    """Fall of the circuit's logit difference when one more component is removed from it.

    This is what Table 1 of Distilled Circuits shows (as its notebooks tell; its text says: of the whole model). It is
    given in percent of the whole model's logit difference, like the notebooks' `circuit minus head`.

    Args:
        model: The model, in the arithmetic in which the circuit was found.
        batch: The prompts.
        circuit: The circuit; of edges, what a removed component writes reaches nobody.
        components: Components to remove, one at a time; those that are not in the circuit are left out.
        ablation: What everything outside is replaced by.
        batch_size: Rows run at a time.
        weights: Share of each prompt in each bootstrap draw; None for no intervals.
        progress: Called as the work advances; a unit is one circuit.

    Raises:
        OptionError: The ablation cannot be done on these prompts, or memory is short.
        ModelError: Logits are not finite.
    """
    inside = [component for component in components if component in circuit.nodes]
    if not inside:
        return {}
    runner = CircuitRunner(model, batch, source=ablation, batch_size=batch_size, progress=progress)
    sets = [circuit.kept]
    for component in inside:
        less = circuit.kept.clone()
        less[:, circuit.space.sender_index[Sender(component)]] = False
        sets.append(less)
    runs = CircuitRuns(runner=runner, progress=progress)
    found = runs.logit_diffs_of(sets, len(sets), stage="circuit without heads", at_once=together(circuit.kind))
    whole = runner.clean["logit_diff"]
    return {c: Drop(whole=whole, fall=found[0] - without, weights=weights)
            for c, without in zip(inside, found[1:], strict=True)}  # fmt: skip
