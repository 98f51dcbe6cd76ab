"""What is measured of the logits at the answer position."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.errors import OptionError

MetricName = Literal["logit_diff", "kl", "probability", "top1"]
Measure = Callable[
    [Float[Tensor, "unit row logit"], Float[Tensor, "row logit"], Int[Tensor, "row 2"]], Float[Tensor, "unit row"]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number for every run and prompt.

    Attributes:
        name: Its name.
        whole_vocabulary: False where the logits of the correct and the incorrect answer are enough; then these two
            are all that is unembedded.
        measure: From the logits of the runs, the clean logits and the answers (correct, incorrect).
    """

    name: MetricName
    whole_vocabulary: bool
    measure: Measure


def _logit_diff(logits: Tensor, clean: Tensor, answers: Tensor) -> Tensor:
    """Correct minus incorrect, in logits (Distilled Circuits, Eq. 3)."""
    return logits[..., 0].float() - logits[..., 1].float()


def _kl(logits: Tensor, clean: Tensor, answers: Tensor) -> Tensor:
    """KL divergence of the run from the clean run, in nats."""
    there, here = clean.float().log_softmax(-1), logits.float().log_softmax(-1)
    return torch.nn.functional.kl_div(here, there.expand_as(here), reduction="none", log_target=True).sum(-1)


def _probability(logits: Tensor, clean: Tensor, answers: Tensor) -> Tensor:
    """Probability of the correct answer."""
    return _of_correct(logits.float().softmax(-1), answers)


def _top1(logits: Tensor, clean: Tensor, answers: Tensor) -> Tensor:
    """1 where the correct answer is the most probable token of all."""
    return (logits.argmax(-1) == answers[:, 0].to(logits.device)).float()


def _of_correct(values: Tensor, answers: Tensor) -> Tensor:
    row = torch.arange(values.shape[-2], device=values.device)
    return values[..., row, answers[:, 0].to(values.device)]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="logit_diff", whole_vocabulary=False, measure=_logit_diff),
        Metric(name="kl", whole_vocabulary=True, measure=_kl),
        Metric(name="probability", whole_vocabulary=True, measure=_probability),
        Metric(name="top1", whole_vocabulary=True, measure=_top1),
    )
}


def parse_metric(name: str) -> Metric:
    """Find a metric by name.

    Raises:
        OptionError: There is none of this name.
    """
    if name not in METRICS:
        raise OptionError(f"Metric {name!r} unknown; choose one of {', '.join(METRICS)}.")
    return METRICS[name]
