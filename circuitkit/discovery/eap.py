"""Edge attribution patching: an estimate of every edge's effect, from gradients."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.ablation import Ablation, parse_ablation
from circuitkit.interventions.edge_attribution import EdgeAttribution, Scores
from circuitkit.interventions.edge_sums import EdgeEstimation
from circuitkit.interventions.metric import Metric, MetricName, parse_metric
from circuitkit.interventions.replacement import Replacement, fitting_replacement
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

Method = Literal["eap", "eap-ig"]
Variant = Literal["inputs", "activations"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EdgeScores:
    """Estimated effect of corrupting each edge alone, in the order of `EdgeSpace`.

    Attributes:
        mean: Over prompts: the fall of the metric, in its unit (KL: the rise, in nats), so that a positive edge helps.
            0 where the model has no edge.
        standard_error: Of that mean over prompts; not a number where there is one prompt only.
        n: Number of prompts.
        n_gradients: Forward and backward passes for each prompt.
    """

    mean: Float[Tensor, "receiver sender"]
    standard_error: Float[Tensor, "receiver sender"]
    n: int
    n_gradients: int


def eap(
    model: HookedModel,
    batch: PromptBatch,
    *,
    ablation: Ablation | str | Replacement = Ablation.CORRUPTED_MEAN,
    metric: MetricName | str = "logit_diff",
    method: Method | str = "eap",
    variant: Variant | str = "inputs",
    steps: int = 5,
    batch_size: BatchSize = "auto",
    store: ShardStore | None = None,
    stage: str = "gradients",
    progress: Progress = silent,
) -> EdgeScores:
    """Estimate the effect of every edge by attribution patching (Syed, Rager & Conmy 2023, arXiv 2310.10348).

    An edge's score is (clean write of the sender - replacement) times the gradient where the receiver reads. `eap`
    takes the gradient of the clean run; `eap-ig` the mean over runs between the replaced and the clean state (Hanna,
    Pezzelle & Belinkov 2024, arXiv 2403.17806), where either the embedding is between (`inputs`) or one stage of
    senders at a time (`activations`, which costs as many times more as there are stages: two a block and one).

    Args:
        model: The model, of any family.
        batch: Prompts.
        ablation: What a corrupted edge carries: an ablation, or its values.
        metric: `logit_diff` or `probability`, whose fall is estimated, or `kl`, whose rise is.
        method: Where gradients are taken.
        variant: What `eap-ig` interpolates.
        steps: Runs of `eap-ig` between the two states.
        batch_size: Prompts run together.
        store: Where finished shards are kept and found again; its key must tell all of the above apart.
        stage: Name of this work in progress reports.
        progress: Called as prompts are done.

    Raises:
        OptionError: An option is unknown or does not go with the others, the ablation cannot be done on this task, or
            memory is short for one prompt.
        ModelError: Scores are not finite.
    """
    _check("Method", method, Method)
    _check("Variant", variant, Variant)
    measured = _differentiable(parse_metric(metric), method)
    if steps < 1:
        raise OptionError(f"{steps} steps have no mean; give --steps 1 or more.")
    source = parse_ablation(ablation) if isinstance(ablation, str) else ablation

    @cache
    def values() -> Replacement:
        if not isinstance(source, Ablation):
            return source
        return fitting_replacement(model, batch, source, batch_size=batch_size, progress=progress)

    def scores(attribution: EdgeAttribution) -> Scores:
        if method == "eap":
            return attribution.at_clean()
        return attribution.over_inputs(steps) if variant == "inputs" else attribution.over_activations(steps)

    estimation = EdgeEstimation(
        model=model, batch=batch, metric=measured, scores=scores, values=values, batch_size=batch_size
    )
    found, n = estimation.sums(store=store, stage=stage, progress=progress), len(batch.pairs)
    mean = found["sum"] / n
    variance = (found["squares"] - n * mean.square()).clamp(min=0) / (n - 1) if n > 1 else mean * torch.nan
    return EdgeScores(
        mean=((-1 if measured.name == "kl" else 1) * mean).float(),
        standard_error=(variance / n).sqrt().float(),
        n=n,
        n_gradients=1 if method == "eap" else steps * (1 if variant == "inputs" else 2 * model.info.n_layers + 1),
    )


def _check(what: str, given: str, known: Any) -> None:  # noqa: ANN401 - a Literal
    if given not in get_args(known):
        raise OptionError(f"{what} {given!r} unknown; choose one of {', '.join(get_args(known))}.")


def _differentiable(metric: Metric, method: str) -> Metric:
    if metric.name == "top1":
        raise OptionError("Metric 'top1' has no gradient; choose logit_diff, probability or kl.")
    if metric.name == "kl" and method == "eap":
        raise OptionError(
            "Method 'eap' takes the gradient of the clean run, where that of metric 'kl' is 0; use --method eap-ig, or "
            "--metric logit_diff."
        )
    return metric
