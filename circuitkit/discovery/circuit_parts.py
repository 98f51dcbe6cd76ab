"""What a circuit is made of: nodes or edges that can be kept or removed one by one."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.component import Component, all_components
from circuitkit.core.edge import EdgeSpace, Sender
from circuitkit.core.errors import OptionError

CircuitKind = Literal["nodes", "edges"]


@dataclass(frozen=True, kw_only=True)
class PartSpace:
    """All nodes or all edges of a model; sets of them are tensors [part], and can be run as sets of edges.

    Nodes come in the order of `all_components`, edges receiver by receiver in the order of `EdgeSpace`. Keeping a set
    of nodes keeps everything that they and the embedding write.

    Attributes:
        space: The model's edges.
        kind: Which of the two.
    """

    space: EdgeSpace
    kind: CircuitKind

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """All heads and MLPs of the model."""
        return all_components(self.space.n_layers, self.space.n_heads)

    @cached_property
    def _columns(self) -> list[int]:
        return [self.space.sender_index[Sender(component)] for component in self.components]

    def __len__(self) -> int:
        return len(self.components) if self.kind == "nodes" else self.space.n_edges

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Such as `L2H1` for a node and `embed->L2H1.q` for an edge."""
        return tuple(str(part) for part in (self.components if self.kind == "nodes" else self.space.edges()))

    def mask(self, parts: Bool[Tensor, "*circuit part"]) -> Bool[Tensor, "*circuit receiver sender"]:
        """Sets of parts as sets of edges."""
        possible = self.space.possible
        if self.kind == "edges":
            out = torch.zeros(*parts.shape[:-1], *possible.shape, dtype=torch.bool)
            out[..., possible] = parts
            return out
        columns = torch.ones(*parts.shape[:-1], possible.shape[1], dtype=torch.bool)
        columns[..., self._columns] = parts
        return columns[..., None, :] & possible

    def parts(self, kept: Bool[Tensor, "receiver sender"]) -> Bool[Tensor, " part"]:
        """A set of edges as a set of parts.

        Raises:
            OptionError: It is of another model, or not the edges of a set of nodes where nodes are wanted.
        """
        possible = self.space.possible
        if kept.shape != possible.shape:
            raise OptionError(
                f"A set of edges of shape {tuple(kept.shape)} does not fit a model with {possible.shape[0]} receivers "
                f"and {possible.shape[1]} senders; build it with this model's EdgeSpace."
            )
        if bool((kept & ~possible).any()):
            raise OptionError(
                "The set holds edges that the model does not have: everyone reads only what was written before it. "
                "Build it with EdgeSpace.mask, or keep `kept & space.possible`."
            )
        if self.kind == "edges":
            return kept[possible]
        found = kept[-1, self._columns]  # the logits read everyone
        if not torch.equal(self.mask(found), kept):
            raise OptionError(
                "The set is not what a set of nodes and the embedding write; build it with EdgeSpace.of_nodes, or "
                "judge it as a circuit of edges (kind='edges')."
            )
        return found

    def scores(self, scores: Float[Tensor, "*part"]) -> Float[Tensor, " part"]:
        """Scores of all parts in their order, from [receiver, sender] for edges or [component] for nodes.

        Raises:
            OptionError: They are of another shape or not finite.
        """
        wanted = self.space.possible.shape if self.kind == "edges" else torch.Size((len(self),))
        if scores.shape != wanted:
            raise OptionError(
                f"Scores of shape {tuple(scores.shape)} do not fit the {self.kind} of this model; wanted shape "
                f"{tuple(wanted)}."
            )
        found = scores[self.space.possible] if self.kind == "edges" else scores
        if not bool(found.isfinite().all()):
            raise OptionError(f"Some scores of {self.kind} are not finite numbers; give one for each of the model's.")
        return found

    def components_in(self, kept: Bool[Tensor, "receiver sender"]) -> tuple[Component, ...]:
        """The heads and MLPs of a circuit; of one of edges, those with a kept edge in and a kept edge out."""
        if self.kind == "nodes":
            parts = self.parts(kept).tolist()
            return tuple(c for c, inside in zip(self.components, parts, strict=True) if inside)
        read = {r.component for r, any_in in zip(self.space.receivers, kept.any(1).tolist(), strict=True) if any_in}
        written = {s.component for s, out in zip(self.space.senders, kept.any(0).tolist(), strict=True) if out}
        return tuple(component for component in self.components if component in read and component in written)


def parse_kind(kind: str) -> CircuitKind:
    """What a circuit is made of, checked.

    Raises:
        OptionError: There is no such kind.
    """
    if kind not in get_args(CircuitKind):
        raise OptionError(f"Kind of circuit {kind!r} unknown; choose one of {', '.join(get_args(CircuitKind))}.")
    return cast(CircuitKind, kind)
