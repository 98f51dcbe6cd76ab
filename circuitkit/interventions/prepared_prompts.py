"""Some prompts of a batch, ready to be run with any sets of edges."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.core.errors import ModelError
from circuitkit.interventions.edge_forward import EdgeForward
from circuitkit.interventions.edge_replay import EdgeReplay
from circuitkit.interventions.metric import Metric
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedPrompts:
    """Prompts that are run together, and their clean logits.

    Attributes:
        rows: Which prompts of the batch.
        answers: Their correct and incorrect answers.
        tokens: The tokens whose logits are needed; None is the vocabulary.
        forward: Runs them.
        clean: Logits with every edge kept.
        metrics: What is measured.
    """

    rows: Int[Tensor, " row"]
    answers: Int[Tensor, "row 2"]
    tokens: Int[Tensor, "row 2"] | None
    forward: EdgeForward | EdgeReplay
    clean: Float[Tensor, "row logit"]
    metrics: Sequence[Metric]

    @classmethod
    def of(
        cls,
        batch: PromptBatch,
        rows: Int[Tensor, " row"],
        forward: EdgeForward | EdgeReplay,
        metrics: Sequence[Metric],
    ) -> "PreparedPrompts":
        """Run the prompts with every edge kept.

        Raises:
            ModelError: Logits are not finite.
        """
        answers = torch.stack([batch.correct_ids[rows], batch.incorrect_ids[rows]], 1)
        whole = any(metric.whole_vocabulary for metric in metrics)
        tokens = None if whole else answers.to(forward.model.device)
        clean = _finite(forward.model, forward.run(forward.space.possible[None], tokens))[0]
        return cls(rows=rows, answers=answers, tokens=tokens, forward=forward, clean=clean, metrics=metrics)

    @property
    def length(self) -> int:
        """Tokens of the longest prompt."""
        return self.forward.rows.ids.shape[1]

    def measure(
        self, kept: Bool[Tensor, "circuit receiver sender"] | None = None
    ) -> dict[str, Float[Tensor, "circuit row"]]:
        """By metric name, a number for every set of edges and prompt; None is every edge, once.

        Raises:
            ModelError: Logits are not finite.
        """
        if kept is None:
            logits = self.clean[None]
        else:
            logits = _finite(self.forward.model, self.forward.run(kept, self.tokens))
        return {
            str(metric.name): metric.measure(
                self._seen_by(metric, logits), self._seen_by(metric, self.clean), self.answers
            ).cpu()
            for metric in self.metrics
        }

    def _seen_by(self, metric: Metric, logits: Float[Tensor, "*circuit row logit"]) -> Tensor:
        if metric.whole_vocabulary or self.tokens is not None:
            return logits
        answers = self.answers.to(logits.device)
        return logits.gather(-1, answers.expand(*logits.shape[:-1], 2))


def _finite(model: HookedModel, logits: Float[Tensor, "circuit row logit"]) -> Float[Tensor, "circuit row logit"]:
    if not bool(logits.isfinite().all()):
        raise ModelError(
            f"{model.info.name!r} gives logits that are not finite numbers in {model.dtype}; its weights are too large "
            "for this number format or broken. Try --dtype float32."
        )
    return logits
