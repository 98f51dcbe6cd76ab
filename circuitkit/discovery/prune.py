"""Iterative node pruning: heads and MLPs removed one after the other while the circuit keeps the behaviour."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import torch
from jaxtyping import Bool
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.digest import digest
from circuitkit.core.edge import EdgeSpace, Sender
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.elimination import Eliminator
from circuitkit.discovery.floor import least_logit_diff
from circuitkit.discovery.recorded import RecordedMean
from circuitkit.interventions.circuit_runner import CircuitRunner

NODE_THRESHOLD = 0.20


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTest:
    """What pruning found of one component.

    Attributes:
        component: The head or MLP.
        removed_in: Pass in which it was removed, from 1 on; None if it was kept.
        value: Mean logit difference of the circuit without it when it was last tested, in logits.
        loss: Fall of the final circuit's mean logit difference when it too is removed, in logits; None if it was
            removed, or not tested since the last removal because `passes` ended the search.
    """

    component: Component
    removed_in: int | None
    value: float
    loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A circuit of nodes.

    Attributes:
        nodes: The heads and MLPs kept, in the order in which they are computed.
        tests: Every head and MLP, in that order.
        model_value: Mean logit difference of the whole model, in logits.
        value: Mean logit difference of the circuit, in logits.
        floor: The logit difference that it had to keep, in logits.
        n_passes: Passes begun, a pass being once backward and once forward.
        evaluations: How many circuits were run.
    """

    nodes: tuple[Component, ...]
    tests: tuple[NodeTest, ...]
    model_value: float
    value: float
    floor: float
    n_passes: int
    evaluations: int


def prune(
    runner: CircuitRunner,
    *,
    threshold: float = NODE_THRESHOLD,
    passes: int | None = None,
    one_at_a_time: bool = False,
    store: ShardStore | None = None,
    stage: str = "prune",
    progress: Progress = silent,
) -> Pruned:
    """Remove every head and MLP whose removal leaves the circuit enough of the model's logit difference.

    From the whole model, components are visited from the last to the first and then from the first to the last,
    in the order in which they are computed; one is removed if the circuit without it (and without all removed
    before) still has at least `1 - threshold` of the whole model's mean logit difference. This repeats until no
    kept component can be removed (Distilled Circuits, section 3). It is the circuit as a whole that loses at most
    `threshold`: a kept component alone may cost far less than that.

    Args:
        runner: The model, the prompts and what removed components are replaced by; must measure `logit_diff`.
        threshold: Share of the model's mean logit difference that may be lost.
        passes: End after so many passes, each once backward and once forward (1: as the published notebooks do);
            None goes on until nothing changes.
        one_at_a_time: Run the plain algorithm, which runs one circuit at a time and finds the same.
        store: Where values are kept and found again; its key must tell the runner's options apart.
        stage: Name of this work in progress reports.
        progress: Called as components are decided; units are the blocks behind them. Another sweep over what is
            left extends the total.

    Raises:
        OptionError: An option is out of range, or the model does not clearly do the task.
    """
    if passes is not None and passes < 1:
        raise OptionError(f"{passes} passes would prune nothing; give 1 or more.")
    floor = least_logit_diff(runner, threshold, option="Node threshold")
    model_value = runner.clean["logit_diff"].double().mean().item()
    search = _Search(runner.space, model_value)
    eliminator = Eliminator(
        RecordedMean(runner, "logit_diff", store=store, name=f"prune-{digest([threshold, one_at_a_time])}"),
        lambda before, after: after >= floor,
        cost_of_one_more=runner.cost_of_one_more,
        one_at_a_time=one_at_a_time,
    )
    done = total = 0
    for component, ahead in search.run(eliminator, passes):
        total = max(total, done + ahead)
        done += search.cost(component)
        progress(stage, done, total)
    return Pruned(
        nodes=tuple(search.kept),
        tests=tuple(search.test(component) for component in search.order),
        model_value=model_value,
        value=search.value,
        floor=floor,
        n_passes=search.n_passes,
        evaluations=eliminator.evaluations,
    )


@dataclass(slots=True)
class _Search:
    """What is known while components are visited.

    `known` holds the components that were tested on the circuit as it is now: they need not be tested again, and
    once all are in it, nothing can change any more.
    """

    space: EdgeSpace
    value: float
    n_passes: int = 0
    last: dict[Component, float] = field(default_factory=dict[Component, float])
    removed_in: dict[Component, int] = field(default_factory=dict[Component, int])
    known: set[Component] = field(default_factory=set[Component])

    @property
    def order(self) -> list[Component]:
        return [s.component for s in self.space.senders if s.component is not None]

    @property
    def kept(self) -> list[Component]:
        return [c for c in self.order if c not in self.removed_in]

    def cost(self, component: Component) -> int:
        return self.space.n_layers - component.layer

    def run(self, eliminator: Eliminator, passes: int | None) -> Iterator[tuple[Component, int]]:
        """Components as they are decided, with the cost of what is ahead of this sweep, them included."""
        for sweep in count():
            ordered = self.kept if sweep % 2 else self.kept[::-1]
            visited = [c for c in ordered if c not in self.known]
            if not visited or (passes is not None and sweep == 2 * passes):
                return
            self.n_passes = sweep // 2 + 1
            ahead = sum(map(self.cost, visited))
            parts = [self._written_by(c) for c in visited]
            for decision in eliminator.run(self.space.of_nodes(self.kept), self.value, parts):
                component = visited[decision.index]
                self._note(component, decision.value, decision.removed)
                yield component, ahead
                ahead -= self.cost(component)

    def _note(self, component: Component, value: float, removed: bool) -> None:
        self.last[component] = value
        if removed:
            self.value, self.removed_in[component] = value, self.n_passes
            self.known.clear()
        else:
            self.known.add(component)

    def _written_by(self, component: Component) -> Bool[Tensor, "receiver sender"]:
        """All edges of one sender, as a view that takes no memory."""
        columns = torch.arange(len(self.space.senders)) == self.space.sender_index[Sender(component)]
        return columns.expand(self.space.possible.shape)

    def test(self, component: Component) -> NodeTest:
        return NodeTest(
            component=component,
            removed_in=self.removed_in.get(component),
            value=self.last[component],
            loss=self.value - self.last[component] if component in self.known else None,
        )
