"""Circuits of edges found by path patching: the weakest paths removed while the circuit keeps the behaviour."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, overload

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.digest import digest
from circuitkit.core.edge import EdgeSpace, Sender
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.elimination import Eliminator
from circuitkit.discovery.floor import least_logit_diff
from circuitkit.discovery.path_patch import edge_effects
from circuitkit.discovery.prune import NODE_THRESHOLD, Pruned, prune
from circuitkit.discovery.recorded import RecordedMean
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.edge_plan import plan

EDGE_THRESHOLD = 0.20
_ROUNDING = 1e-4
"""Share of the floor by which one set of edges, run in two ways, may miss it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PathCircuit:
    """A circuit of edges.

    Attributes:
        nodes: The heads and MLPs between which edges were looked for, in the order in which they are computed.
        kept: The edges of the circuit, in the order of `EdgeSpace`.
        effects: Mean effect of each edge alone in the whole model, in logits; 0 where it was not measured.
        measured: Where it was.
        model_value: Mean logit difference of the whole model, in logits.
        start_value: That of all edges between the nodes.
        value: That of the circuit.
        floor: What the circuit had to keep, in logits.
        pruned: How the nodes were found; None where they were given.
        evaluations: How many circuits were run, single edges and the pruning of nodes included.
        warnings: Plain sentences that must be shown with the result.
    """

    nodes: tuple[Component, ...]
    kept: Bool[Tensor, "receiver sender"]
    effects: Float[Tensor, "receiver sender"]
    measured: Bool[Tensor, "receiver sender"]
    model_value: float
    start_value: float
    value: float
    floor: float
    pruned: Pruned | None
    evaluations: int
    warnings: tuple[str, ...]


def path_patching(
    runner: CircuitRunner,
    *,
    nodes: Collection[Component] | Literal["pruned", "all"] = "pruned",
    node_threshold: float = NODE_THRESHOLD,
    threshold: float = EDGE_THRESHOLD,
    one_at_a_time: bool = False,
    store: ShardStore | None = None,
    stage: str = "path patching",
    progress: Progress = silent,
) -> PathCircuit:
    """Find the edges between some nodes that the behaviour needs.

    The effect of every edge between the nodes, the embedding and the logits is measured alone, as by `path_patch`.
    The circuit starts as all these edges, with all others corrupted. From the one with the smallest effect (by its
    size) to the one with the greatest, an edge is removed if the circuit without it still has at least
    `1 - threshold` of the whole model's mean logit difference; each edge is visited once. Edges that then no longer
    lead to the logits change nothing and are removed too. Where the edges between the nodes do not reach that
    floor to begin with, the circuit must keep that share of what they have, and a warning says so.

    Args:
        runner: The model, the prompts and what removed edges carry; must measure `logit_diff`.
        nodes: The heads and MLPs; `pruned` finds them by `prune`, `all` takes the whole model.
        node_threshold: The threshold of `prune`.
        threshold: Share of the model's mean logit difference that the circuit may lose in all.
        one_at_a_time: Run the plain algorithm, which runs one circuit at a time and finds the same.
        store: Where values are kept and found again; its key must tell the runner's options apart.
        stage: Name of this work in progress reports.
        progress: Called as edges are measured and decided.

    Raises:
        OptionError: An option is out of range, the model does not clearly do the task, or nothing of it is left in
            the edges between the nodes.
    """
    floor, space = least_logit_diff(runner, threshold, option="Edge threshold"), runner.space
    pruned = None
    if nodes == "pruned":
        pruned = prune(
            runner,
            threshold=node_threshold,
            one_at_a_time=one_at_a_time,
            store=store,
            stage=f"{stage}: nodes",
            progress=progress,
        )
    members = _members(space, nodes if pruned is None else pruned.nodes)
    start = space.between(members)
    effects = torch.zeros(start.shape, dtype=torch.float64)
    effects[start] = (
        edge_effects(runner, space.edges(start), store=store, stage=f"{stage}: effects", progress=progress)
        .double()
        .mean(1)
    )
    start_value = runner.run(start[None])["logit_diff"].double().mean().item()
    floor, warnings = _reachable(floor, start_value, threshold)
    name = f"paths-{digest([threshold, one_at_a_time, [str(node) for node in members]])}"
    measure = RecordedMean(runner, "logit_diff", store=store, name=name)
    eliminator = Eliminator(
        measure,
        lambda _before, after: after >= floor,
        cost_of_one_more=runner.cost_of_one_more,
        one_at_a_time=one_at_a_time,
    )
    weakest_first = _SingleEdges(start, effects)
    kept, value = start.clone(), start_value
    for decision in eliminator.run(start, start_value, weakest_first):
        if decision.removed:
            kept, value = kept & ~weakest_first[decision.index], decision.value
        progress(f"{stage}: edges", decision.index + 1, len(weakest_first))
    return PathCircuit(
        nodes=members,
        kept=_leading_to_logits(space, kept),
        effects=effects.float(),
        measured=start,
        model_value=runner.clean["logit_diff"].double().mean().item(),
        start_value=start_value,
        value=value,
        floor=floor,
        pruned=pruned,
        evaluations=eliminator.evaluations + int(start.sum()) + 1 + (pruned.evaluations if pruned else 0),
        warnings=warnings,
    )


def _members(space: EdgeSpace, nodes: Collection[Component] | str) -> tuple[Component, ...]:
    """The nodes in the order in which they are computed."""
    every = [s.component for s in space.senders if s.component is not None]
    if isinstance(nodes, str):
        if nodes != "all":
            raise OptionError(f"Nodes {nodes!r} unknown; choose pruned or all, or give components.")
        return tuple(every)
    if unknown := [str(node) for node in nodes if node not in every]:
        raise OptionError(
            f"Node {', '.join(unknown)} is not in a model of {space.n_layers} layers of {space.n_heads} heads; "
            "name one that is."
        )
    return tuple(node for node in every if node in nodes)


def _reachable(floor: float, start: float, threshold: float) -> tuple[float, tuple[str, ...]]:
    """The floor, lowered to a share of what there is to begin with where that is less."""
    if start >= floor * (1 - _ROUNDING):
        return min(floor, start), ()
    if start <= 0:
        raise OptionError(
            f"The edges between the nodes have a mean logit difference of {start:.2f}, of which nothing can be kept; "
            "give more nodes, or a lower node threshold."
        )
    lower = (1 - threshold) * start
    return lower, (
        f"The edges between the nodes have a mean logit difference of {start:.2f}, below the {floor:.2f} that a "
        f"circuit should keep; edges were removed while {lower:.2f} was kept, {1 - threshold:.0%} of what they have.",
    )


def _leading_to_logits(space: EdgeSpace, kept: Bool[Tensor, "receiver sender"]) -> Bool[Tensor, "receiver sender"]:
    need = plan(space, kept[None]).need
    read = [r.component is None or need[space.sender_index[Sender(r.component)]] > 0 for r in space.receivers]
    return kept & torch.tensor(read)[:, None]


class _SingleEdges(Sequence[Tensor]):
    """Sets of one edge each, weakest effect first; made when asked for, as all at once may not fit into memory."""

    def __init__(self, edges: Bool[Tensor, "receiver sender"], effects: Float[Tensor, "receiver sender"]) -> None:
        self._shape = edges.shape
        self._places = edges.nonzero()[effects[edges].abs().argsort(stable=True)]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        out = torch.zeros(self._shape, dtype=torch.bool)
        out[tuple(self._places[index])] = True
        return out
