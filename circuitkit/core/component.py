"""The parts of a transformer that are measured: attention heads, MLPs, and the stream between the blocks."""

import re
from dataclasses import dataclass
from typing import Literal

from circuitkit.core.errors import OptionError

_HEAD = re.compile(r"L(\d+)H(\d+)")
_MLP = re.compile(r"MLP(\d+)")


@dataclass(frozen=True, slots=True)
class Component:
    """One attention head (`L9H1`) or one MLP (`MLP9`); layers and heads count from 0.

    Attributes:
        layer: Index of the transformer block.
        head: Index of the query head inside the block; None means the block's MLP.
    """

    layer: int
    head: int | None = None

    @property
    def kind(self) -> Literal["head", "mlp"]:
        """Which of the two types of component this is; only components of one type are matched."""
        return "mlp" if self.head is None else "head"

    @classmethod
    def parse(cls, text: str) -> "Component":
        """Read `L9H1` or `MLP9`.

        Raises:
            OptionError: The text is neither.
        """
        if found := _HEAD.fullmatch(text):
            return cls(int(found[1]), int(found[2]))
        if found := _MLP.fullmatch(text):
            return cls(int(found[1]))
        raise OptionError(f"Component {text!r} not understood; wanted a head such as L9H1 or an MLP such as MLP9.")

    def __str__(self) -> str:
        return f"MLP{self.layer}" if self.head is None else f"L{self.layer}H{self.head}"


def all_components(n_layers: int, n_heads: int) -> tuple[Component, ...]:
    """Every head, layer by layer, then every MLP: the row order of all per-component results."""
    heads = [Component(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    return (*heads, *(Component(layer) for layer in range(n_layers)))


@dataclass(frozen=True, slots=True)
class Stream:
    """The residual stream behind one block (`block3`), or what the first block reads (`embed`).

    Attributes:
        layer: Index of the transformer block; -1 is what the first one reads.
    """

    layer: int

    @property
    def kind(self) -> Literal["stream"]:
        """That it is no component: it carries what all components before it have written."""
        return "stream"

    def __str__(self) -> str:
        return "embed" if self.layer < 0 else f"block{self.layer}"


Site = Component | Stream
"""Where a run of the model can be changed."""
