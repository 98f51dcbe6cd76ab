"""The edges of a transformer's computation graph: who writes, and which input of whom reads it.

Every head and MLP reads the sum of what the embedding and the heads and MLPs before it write. A head reads it three
times, for its queries, keys and values; the logits read it once, at the end.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import torch
from jaxtyping import Bool
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError

Input = Literal["q", "k", "v"]
_HEAD_INPUT = re.compile(r"(L\d+H\d+)\.([qkv])")


@dataclass(frozen=True, slots=True)
class Sender:
    """What writes to the residual stream: `embed`, a head such as `L2H1`, or an MLP such as `MLP2`.

    Attributes:
        component: The head or MLP; None is the embedding.
    """

    component: Component | None = None

    @classmethod
    def parse(cls, text: str) -> "Sender":
        """Read `embed`, `L2H1` or `MLP2`.

        Raises:
            OptionError: The text is none of them.
        """
        return cls() if text == "embed" else cls(Component.parse(text))

    def __str__(self) -> str:
        return "embed" if self.component is None else str(self.component)


@dataclass(frozen=True, slots=True)
class Receiver:
    """What reads the residual stream: `L2H3.q`, `L2H3.k`, `L2H3.v`, `MLP2` or `logits`.

    Where query heads share keys and values, `.k` and `.v` are one query head's view of them.

    Attributes:
        component: The head or MLP that reads; None are the logits.
        input: Which of a head's three inputs; None for an MLP and the logits.
    """

    component: Component | None = None
    input: Input | None = None

    @classmethod
    def parse(cls, text: str) -> "Receiver":
        """Read `L2H3.q`, `MLP2` or `logits`.

        Raises:
            OptionError: The text is none of them.
        """
        if text == "logits":
            return cls()
        if found := _HEAD_INPUT.fullmatch(text):
            return cls(Component.parse(found[1]), cast(Input, found[2]))
        component = Component.parse(text)
        if component.head is not None:
            raise OptionError(f"Receiver {text!r} does not say which input; wanted {text}.q, {text}.k or {text}.v.")
        return cls(component)

    def __str__(self) -> str:
        if self.component is None:
            return "logits"
        return str(self.component) if self.input is None else f"{self.component}.{self.input}"


EMBED, LOGITS = Sender(), Receiver()


@dataclass(frozen=True, slots=True)
class Edge:
    """One sender as one receiver reads it.

    Attributes:
        sender: Who writes.
        receiver: Who reads.
    """

    sender: Sender
    receiver: Receiver

    def __str__(self) -> str:
        return f"{self.sender}->{self.receiver}"


@dataclass(frozen=True)
class EdgeSpace:
    """All senders, receivers and edges of a model, in the order in which they are computed.

    Sets of edges and effects of edges are tensors [receiver, sender] in this order.

    Attributes:
        n_layers: Blocks.
        n_heads: Query heads of a block.
    """

    n_layers: int
    n_heads: int

    @cached_property
    def senders(self) -> tuple[Sender, ...]:
        """`embed`, then block by block the heads and the MLP."""
        return (EMBED, *(Sender(c) for layer in range(self.n_layers) for c in self._block(layer)))

    @cached_property
    def receivers(self) -> tuple[Receiver, ...]:
        """Block by block the inputs q, k and v of every head and the MLP, then `logits`."""
        inputs: tuple[Input, ...] = ("q", "k", "v")
        found: list[Receiver] = []
        for layer in range(self.n_layers):
            *heads, mlp = self._block(layer)
            found += [Receiver(head, name) for head in heads for name in inputs]
            found.append(Receiver(mlp))
        return (*found, LOGITS)

    def _block(self, layer: int) -> tuple[Component, ...]:
        return (*(Component(layer, head) for head in range(self.n_heads)), Component(layer))

    @cached_property
    def sender_index(self) -> dict[Sender, int]:
        """Column of each sender."""
        return {sender: i for i, sender in enumerate(self.senders)}

    @cached_property
    def receiver_index(self) -> dict[Receiver, int]:
        """Row of each receiver."""
        return {receiver: i for i, receiver in enumerate(self.receivers)}

    def n_upstream(self, receiver: Receiver) -> int:
        """How many of the senders, from the first on, are written before a receiver reads."""
        if receiver.component is None:
            return len(self.senders)
        before = 1 + receiver.component.layer * (self.n_heads + 1)
        return before + (self.n_heads if receiver.input is None else 0)

    @cached_property
    def possible(self) -> Bool[Tensor, "receiver sender"]:
        """Which edges the model has."""
        upstream = torch.tensor([self.n_upstream(receiver) for receiver in self.receivers])
        return torch.arange(len(self.senders)) < upstream[:, None]

    @property
    def n_edges(self) -> int:
        """How many edges the model has."""
        return int(self.possible.sum())

    def edges(self, mask: Bool[Tensor, "receiver sender"] | None = None) -> list[Edge]:
        """The edges of a set, or all, receiver by receiver."""
        chosen = self.possible if mask is None else mask & self.possible
        return [Edge(self.senders[s], self.receivers[r]) for r, s in chosen.nonzero().tolist()]

    def mask(self, edges: Iterable[Edge]) -> Bool[Tensor, "receiver sender"]:
        """A set of edges as a tensor.

        Raises:
            OptionError: The model has no such edge.
        """
        out = torch.zeros_like(self.possible)
        for edge in edges:
            row, column = self.receiver_index.get(edge.receiver), self.sender_index.get(edge.sender)
            if row is None or column is None or not self.possible[row, column]:
                raise OptionError(
                    f"Edge {edge} is not in a model of {self.n_layers} layers of {self.n_heads} heads, where every "
                    "head and MLP reads only what was written before it."
                )
            out[row, column] = True
        return out

    def of_nodes(self, nodes: Iterable[Component]) -> Bool[Tensor, "receiver sender"]:
        """The edges of a set of heads and MLPs: everything that they and the embedding write, read by everyone.

        Keeping these edges is the same as ablating the other nodes.

        Raises:
            OptionError: The model has no such node.
        """
        kept = {None, *nodes}
        if unknown := [node for node in kept if Sender(node) not in self.sender_index]:
            raise OptionError(
                f"Node {unknown[0]} is not in a model of {self.n_layers} layers of {self.n_heads} heads; layers and "
                "heads count from 0."
            )
        columns = torch.tensor([sender.component in kept for sender in self.senders])
        return self.possible & columns

    def between(self, nodes: Iterable[Component]) -> Bool[Tensor, "receiver sender"]:
        """The edges that both start and end in a set of nodes, the embedding or the logits.

        Raises:
            OptionError: The model has no such node.
        """
        kept = {None, *nodes}
        rows = torch.tensor([receiver.component in kept for receiver in self.receivers])
        return self.of_nodes(n for n in kept if n is not None) & rows[:, None]
