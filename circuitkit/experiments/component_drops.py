"""What single components cost, in the whole model and in its circuit: the numbers of Table 1, computed here alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from circuitkit.core.component import Component
from circuitkit.core.progress import Progress
from circuitkit.discovery.circuit import Circuit
from circuitkit.discovery.influence_result import Influence
from circuitkit.experiments.drops import Drop, drops_from_circuit
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.precision import in_float32
from circuitkit.tasks.batch import PromptBatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComponentDrops:
    """Drops of some components of one model under both conventions of Table 1 of Distilled Circuits.

    Attributes:
        alone: Of the whole model without each (the paper's text).
        in_circuit: Of the circuit without each of those that it holds (the notebooks).
    """

    alone: dict[Component, Drop]
    in_circuit: dict[Component, Drop]


def component_drops(
    model: HookedModel,
    batch: PromptBatch,
    measured: Influence,
    circuit: Circuit | None,
    components: Sequence[Component],
    *,
    ablation: Ablation,
    batch_size: BatchSize,
    as_loaded: bool,
    progress: Progress,
) -> ComponentDrops:
    """Put together what was measured of the whole model and what the circuit loses.

    Args:
        model: The model.
        batch: The prompts.
        measured: Ablations of its components on the same prompts.
        circuit: Its circuit; None for none.
        components: The components that are asked for.
        ablation: What everything outside the circuit is replaced by.
        batch_size: Rows run at a time.
        as_loaded: Whether the circuit of a 16-bit model runs in its own arithmetic.
        progress: Called as the work advances.

    Raises:
        OptionError: The ablation cannot be done on these prompts, or memory is short.
        ModelError: Numbers are not finite.
    """
    rows, weights = dict(zip(measured.components, measured.drops, strict=True)), measured.weights()
    alone = {c: Drop(whole=measured.clean, fall=rows[c], weights=weights) for c in components}
    inside: dict[Component, Drop] = {}
    if circuit is not None and any(component in circuit.nodes for component in components):
        inside = drops_from_circuit(
            model if as_loaded else in_float32(model),
            batch,
            circuit,
            components,
            ablation=ablation,
            batch_size=batch_size,
            weights=weights,
            progress=progress,
        )
    return ComponentDrops(alone=alone, in_circuit=inside)
