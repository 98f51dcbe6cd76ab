"""What is changed in one run of a model: which components, at which positions of which prompts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuitkit.core.component import Component

Where = Bool[Tensor, "#prompt #pos"]
"""True where a component is replaced; an axis of length 1 stands for all prompts or all positions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Intervention:
    """Components replaced together in one run of the model.

    Attributes:
        edits: Component -> where it is replaced; None is everywhere.
    """

    edits: Mapping[Component, Where | None]

    @property
    def first_layer(self) -> int:
        """The first block that anything is replaced in."""
        return min(component.layer for component in self.edits)

    def on(self, layer: int) -> list[tuple[Component, Where | None]]:
        """What is replaced in one block."""
        return [(component, where) for component, where in self.edits.items() if component.layer == layer]

    def take(self, rows: Int[Tensor, " row"], length: int, device: torch.device) -> "Intervention":
        """The same for some of the prompts, cut to a length in tokens."""
        return Intervention(
            edits={component: _taken(where, rows, length, device) for component, where in self.edits.items()}
        )

    def first_position(self) -> int:
        """The first position at which anything is replaced, in any prompt; past the end if nothing is."""
        return min(_first(where) for where in self.edits.values())

    def __str__(self) -> str:
        return "+".join(f"{c}" if where is None else f"{c}@{int(where.sum())}" for c, where in self.edits.items())


def replace_components(*components: Component, where: Where | None = None) -> Intervention:
    """Replace some components together, everywhere or at the same positions.

    Args:
        components: One or more.
        where: Where; None is everywhere. Per-row interventions give [prompt, 1], patching one position [1, pos].
    """
    assert components
    return Intervention(edits=dict.fromkeys(components, where))


def at_each_position(components: Iterable[Component], length: int) -> list[Intervention]:
    """Every component at every position by itself: component-major, as activation patching maps are drawn.

    Args:
        components: The components.
        length: Tokens of the longest prompt.
    """
    places = torch.eye(length, dtype=torch.bool)
    return [replace_components(c, where=places[pos, None]) for c in components for pos in range(length)]


def _taken(
    where: Where | None, rows: Int[Tensor, " row"], length: int, device: torch.device
) -> Bool[Tensor, "#row #kept"] | None:
    if where is None:
        return None
    some = where if where.shape[0] == 1 else where[rows]
    return some[:, :length].to(device)


def _first(where: Where | None) -> int:
    if where is None:
        return 0
    reached = where.any(0)
    if len(reached) == 1:
        return 0 if bool(reached[0]) else 2**31
    return int(reached.long().argmax()) if bool(reached.any()) else 2**31
