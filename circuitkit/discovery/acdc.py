"""ACDC: edges removed from the logits back, each if the metric hardly changes (Conmy et al. 2023, arXiv 2304.14997)."""

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.edge import EdgeSpace, Receiver, Sender
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.elimination import Eliminator
from circuitkit.discovery.recorded import RecordedMean
from circuitkit.interventions.circuit_runner import CircuitRunner

AcdcMetric = Literal["kl", "logit_diff"]
TAU = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Acdc:
    """A circuit of edges.

    Attributes:
        kept: The edges kept.
        effects: By how much the metric got worse without each edge when it was tested: rise of the KL divergence in
            nats, or fall of the logit difference in logits. 0 where the receiver reached the logits no more.
        value: The circuit's mean metric.
        evaluations: How many circuits were run.
    """

    kept: Bool[Tensor, "receiver sender"]
    effects: Float[Tensor, "receiver sender"]
    value: float
    evaluations: int


def acdc(
    runner: CircuitRunner,
    *,
    tau: float = TAU,
    metric: AcdcMetric | str = "kl",
    sequential: bool = False,
    store: ShardStore | None = None,
    stage: str = "acdc",
    progress: Progress = silent,
) -> Acdc:
    """Automatic circuit discovery (Conmy et al. 2023, Algorithm 1).

    Receivers are visited from the logits back, and the edges into each from the last sender to the first. An edge is
    removed if the metric of the circuit without it is worse by less than `tau` than that of the circuit with it. The
    inputs of a component that nothing reads any more go with it. Many edges are tried at a time, which changes what
    is computed but not what is decided; see `Eliminator`.

    Args:
        runner: The model, the prompts and what removed edges carry; must measure the metric.
        tau: How much worse the metric may get by one edge, in nats or logits.
        metric: `kl`, the divergence from the model's own predictions, or `logit_diff`.
        sequential: One edge at a time, the plain algorithm; give it a `plain` runner to compute everything anew.
        store: Where values are kept and found again; its key must tell these options apart.
        stage: Name of this work in progress reports.
        progress: Called as edges are decided; units are edges, weighted by the blocks that follow them.

    Raises:
        OptionError: An option is unknown or out of range.
    """
    metric = parse_acdc_metric(metric)
    if not (math.isfinite(tau) and tau > 0):
        raise OptionError(f"tau {tau:g} is not positive: every edge but those without any effect would stay; try 0.01.")
    if metric not in runner.clean:
        raise OptionError(f"ACDC on {metric!r} needs a runner that measures it; it measures {', '.join(runner.clean)}.")
    space, worse = runner.space, 1 if metric == "kl" else -1
    eliminator = Eliminator(
        RecordedMean(runner, metric, store=store, name="acdc"),
        lambda before, after: worse * (after - before) < tau,
        cost_of_one_more=runner.cost_of_one_more,
        one_at_a_time=sequential,
    )
    kept, value = space.possible.clone(), runner.clean[metric].double().mean().item()
    effects = torch.zeros(kept.shape)
    total, done = sum(_cost(space, r) * space.n_upstream(r) for r in space.receivers), 0
    for row in range(len(space.receivers) - 1, -1, -1):
        receiver = space.receivers[row]
        columns = list(range(space.n_upstream(receiver) - 1, -1, -1))
        if _is_read(space, kept, receiver):
            for decision in eliminator.run(kept.clone(), value, [_edge(space, row, column) for column in columns]):
                column = columns[decision.index]
                effects[row, column] = worse * (decision.value - value)
                if decision.removed:
                    kept[row, column], value = False, decision.value
                done += _cost(space, receiver)
                progress(stage, done, total)
        else:
            kept[row] = False
            done += _cost(space, receiver) * len(columns)
            progress(stage, done, total)
    return Acdc(kept=kept, effects=effects, value=value, evaluations=eliminator.evaluations)


def parse_acdc_metric(metric: str) -> AcdcMetric:
    """What ACDC watches, checked.

    Raises:
        OptionError: It is nothing that it can watch.
    """
    if metric not in get_args(AcdcMetric):
        raise OptionError(f"ACDC metric {metric!r} unknown; choose one of {', '.join(get_args(AcdcMetric))}.")
    return cast(AcdcMetric, metric)


def _is_read(space: EdgeSpace, kept: Bool[Tensor, "receiver sender"], receiver: Receiver) -> bool:
    """Whether anything still reads what a receiver's component writes; the logits always count."""
    if receiver.component is None:
        return True
    return bool(kept[:, space.sender_index[Sender(receiver.component)]].any())


def _edge(space: EdgeSpace, row: int, column: int) -> Bool[Tensor, "receiver sender"]:
    one = torch.zeros_like(space.possible)
    one[row, column] = True
    return one


def _cost(space: EdgeSpace, receiver: Receiver) -> int:
    """Blocks from the receiver on, the unembedding as one."""
    return 1 if receiver.component is None else 1 + space.n_layers - receiver.component.layer
