"""Which components a run of some sets of edges has to compute, where, and for which of the sets."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.edge import EdgeSpace, Receiver, Sender

NOWHERE, AT_ANSWER, EVERYWHERE = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EdgePlan:
    """What is known before anything is run.

    Attributes:
        space: Order of senders and receivers.
        kept: The sets of edges.
        need: By sender, at which positions what it writes is read by anything that reaches the logits.
        clean: By sender, whether it writes in every set what it writes in the clean run, read or not.
    """

    space: EdgeSpace
    kept: Bool[np.ndarray, "unit receiver sender"]
    need: Int[np.ndarray, " sender"]
    clean: Bool[np.ndarray, " sender"]

    def row(self, receiver: Receiver) -> Bool[np.ndarray, "#unit upstream"]:
        """What a receiver reads, in one row where it is the same in all sets."""
        rows = self.kept[:, self.space.receiver_index[receiver], : self.space.n_upstream(receiver)]
        return rows[:1] if bool((rows == rows[:1]).all()) else rows

    def needed(self, component: Component) -> int:
        """At which positions a component has to be known."""
        return int(self.need[self.space.sender_index[Sender(component)]])

    def to_compute(self, components: tuple[Component, ...]) -> list[Component]:
        """Those that reach the logits in any set and differ from the clean run."""
        index = self.space.sender_index
        return [c for c in components if self.need[index[Sender(c)]] and not self.clean[index[Sender(c)]]]


def plan(space: EdgeSpace, kept: Bool[Tensor, "unit receiver sender"]) -> EdgePlan:
    """Look through sets of edges, from the logits back and from the embedding on.

    Args:
        space: Order of senders and receivers.
        kept: The sets.
    """
    sets = kept.cpu().numpy()
    some, every = np.any(sets, axis=0), np.all(sets, axis=0)
    need = _needs(space, some)
    clean = np.zeros(len(space.senders), dtype=bool)
    clean[0] = True
    for column, sender in enumerate(space.senders[1:], 1):
        rows = _inputs(space, sender)
        upstream = space.n_upstream(space.receivers[rows[0]])
        clean[column] = bool(every[rows, :upstream].all()) and bool(clean[:upstream].all())
    return EdgePlan(space=space, kept=sets, need=need, clean=clean)


def _needs(space: EdgeSpace, some: Bool[np.ndarray, "receiver sender"]) -> Int[np.ndarray, " sender"]:
    """From the logits back: keys and values are read everywhere, all else where its reader is needed."""
    need = np.zeros(len(space.senders), dtype=np.int64)
    reads = np.zeros(len(space.receivers), dtype=np.int64)
    reads[-1] = AT_ANSWER
    for column in range(len(space.senders) - 1, -1, -1):
        need[column] = (reads * some[:, column]).max()
        if column and need[column]:
            for row in _inputs(space, space.senders[column]):
                reads[row] = EVERYWHERE if space.receivers[row].input in ("k", "v") else need[column]
    return need


def _inputs(space: EdgeSpace, sender: Sender) -> list[int]:
    """Rows of the inputs of a component."""
    component = sender.component
    assert component is not None
    names = (None,) if component.head is None else ("q", "k", "v")
    return [space.receiver_index[Receiver(component, name)] for name in names]
