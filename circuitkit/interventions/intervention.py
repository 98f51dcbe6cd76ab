"""What is changed in one run of a model: which components or streams, at which positions of which prompts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuitkit.core.component import Component, Site, Stream
from circuitkit.core.errors import OptionError

Where = Bool[Tensor, "#prompt #pos"]
"""True where a component is replaced; an axis of length 1 stands for all prompts or all positions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Intervention:
    """Components replaced together in one run of the model.

    Attributes:
        edits: Component -> where it is replaced; None is everywhere. A `Stream` in place of a component is the
            residual stream behind a whole block.

    Raises:
        OptionError: It replaces nothing, or a place is no boolean tensor [prompt, pos].
    """

    edits: Mapping[Site, Where | None]

    def __post_init__(self) -> None:
        if not self.edits:
            raise OptionError("An intervention that replaces nothing was given; name at least one component.")
        given = cast(Mapping[Site, object], self.edits)  # nothing but this checks the types outside of the tests
        for component, where in given.items():
            if where is None or (isinstance(where, Tensor) and where.dtype == torch.bool and where.ndim == 2):
                continue
            got = f"{where.dtype} {list(where.shape)}" if isinstance(where, Tensor) else type(where).__name__
            raise OptionError(
                f"Where {component} is replaced is given as {got}; give a boolean tensor [prompt, pos], in which an "
                "axis of length 1 stands for all prompts or positions, or None for everywhere."
            )

    @property
    def first_layer(self) -> int:
        """The first block that anything is replaced in; -1 where that is what the first block reads."""
        return min(component.layer for component in self.edits)

    def on(self, layer: int) -> list[tuple[Site, Where | None]]:
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


def replace_components(*components: Site, where: Where | None = None) -> Intervention:
    """Replace some components together, everywhere or at the same positions.

    Args:
        components: One or more; a `Stream` is the residual stream behind a whole block.
        where: Where; None is everywhere. Per-row interventions give [prompt, 1], patching one position [1, pos].

    Raises:
        OptionError: There is no component, or `where` is no boolean tensor [prompt, pos].
    """
    return Intervention(edits=dict.fromkeys(components, where))


def at_each_position(components: Iterable[Site], length: int) -> list[Intervention]:
    """Every component at every position by itself: component-major, as activation patching maps are drawn.

    Args:
        components: The components.
        length: Tokens of the longest prompt.
    """
    places = torch.eye(length, dtype=torch.bool)
    return [replace_components(c, where=places[pos, None]) for c in components for pos in range(length)]


def check_fit(
    interventions: Sequence[Intervention], components: Collection[Component], *, n_prompts: int, length: int
) -> None:
    """Refuse interventions that a model or a batch has no place for.

    Args:
        interventions: Those to be run.
        components: The model's components.
        n_prompts: Prompts of the batch.
        length: Tokens of its longest prompt.

    Raises:
        OptionError: A component is not in the model, or a mask is of other prompts or ends before the batch does.
    """
    *_, last = components
    known = {*components, *(Stream(layer) for layer in range(-1, last.layer + 1))}
    for intervention in interventions:
        for component, where in intervention.edits.items():
            if component not in known:
                raise OptionError(
                    f"Component {component} is not in the model, which has {len(components)} components, the last of "
                    f"them {last}; layers and heads count from 0."
                )
            if where is None:
                continue
            prompts, positions = where.shape
            if prompts not in (1, n_prompts) or (positions != 1 and positions < length):
                raise OptionError(
                    f"Where {component} is replaced is of shape {[prompts, positions]}; these prompts take "
                    f"[{n_prompts} or 1, {length} or 1]."
                )


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
