"""The exact sweep: every component of a model ablated on every prompt of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import replace_components
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """Logit differences, in logits, of the intact model and of the model with one component ablated.

    Attributes:
        components: The ablated components.
        clean: Per prompt, nothing ablated.
        ablated: Per component and prompt.
    """

    components: tuple[Component, ...]
    clean: Float[Tensor, " prompt"]
    ablated: Float[Tensor, "component prompt"]


def sweep(
    model: HookedModel,
    batch: PromptBatch,
    *,
    ablation: Ablation = Ablation.CORRUPTED_MEAN,
    components: Sequence[Component] | None = None,
    batch_size: BatchSize = "auto",
    store: ShardStore | None = None,
    stage: str = "sweep",
    progress: Progress = silent,
) -> Sweep:
    """Ablate components one at a time, exactly (Distilled Circuits, section 3.1 and Eq. 4).

    Args:
        model: The model.
        batch: Prompts; results keep their order.
        ablation: What replaces an activation.
        components: Which to ablate; every head and MLP if not given.
        batch_size: Rows (component x prompt) run at a time. Numbers differ by rounding only.
        store: Where finished shards are kept and found again.
        stage: Name of this work in progress reports.
        progress: Called as components are done; units are block evaluations.

    Raises:
        OptionError: The ablation cannot be done on this task, the batch size is not positive, or memory is short.
        ModelError: Logits are not finite.
    """
    components = tuple(components) if components is not None else model.components
    runs = run_interventions(
        model,
        batch,
        [replace_components(component) for component in components],
        source=ablation,
        batch_size=batch_size,
        store=store,
        stage=stage,
        progress=progress,
    )
    return Sweep(components=components, clean=runs.clean, ablated=runs.changed)
