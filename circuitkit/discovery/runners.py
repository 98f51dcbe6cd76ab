"""Runners of one model and batch with different metrics."""

from circuitkit.core.edge import EdgeSpace
from circuitkit.core.progress import Progress
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


class Runners:
    """Runners by metric, made when they are first asked for, which share what they prepare.

    Args:
        model: The model.
        batch: The prompts.
        ablation: What the edges carry that are not kept.
        batch_size: Rows run at a time.
        progress: Called while the replacement values are prepared.
        plain: Whether everything is computed in every run.
    """

    def __init__(
        self,
        model: HookedModel,
        batch: PromptBatch,
        ablation: Ablation,
        batch_size: BatchSize,
        progress: Progress,
        *,
        plain: bool,
    ) -> None:
        self._first: CircuitRunner | None = None
        self._job = model, batch, ablation, batch_size, progress, plain
        self.space = EdgeSpace(model.info.n_layers, model.info.n_heads)

    def __call__(self, *metrics: str) -> CircuitRunner:
        """The runner that measures these.

        Raises:
            OptionError: A metric is unknown, the ablation cannot be done on this task, or memory is short.
            ModelError: Logits are not finite.
        """
        model, batch, ablation, batch_size, progress, plain = self._job
        if self._first is not None:
            return self._first.measuring(*metrics)
        self._first = CircuitRunner(
            model, batch, source=ablation, metrics=metrics, batch_size=batch_size, plain=plain, progress=progress
        )
        return self._first
