"""Which positions of a block are run: those from the first change on, or the answer's alone."""

from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from circuitkit.models.rotary import Rotary


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffix:
    """All positions from `start` on.

    Attributes:
        start: The first one.
    """

    start: int

    def of(self, x: Shaped[Tensor, "#row #pos *rest"]) -> Shaped[Tensor, "#row #kept *rest"]:
        """The part of a tensor that is kept; an axis of length 1 that stands for all positions stays."""
        return x[:, self.start :] if x.shape[1] > 1 else x

    def rotary(self, rotary: Rotary | None) -> Rotary | None:
        """The angles of the kept positions."""
        return None if rotary is None else rotary.since(self.start)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AtAnswer:
    """Only the position whose logits answer the prompt.

    Attributes:
        positions: It, in each row.
    """

    positions: Int[Tensor, " row"]

    def of(self, x: Shaped[Tensor, "#row #pos *rest"]) -> Shaped[Tensor, "#row 1 *rest"]:
        """The part of a tensor that is kept."""
        if x.shape[1] == 1:
            return x
        positions = self.positions.to(x.device)
        if x.shape[0] == 1:
            return x[0, positions].unsqueeze(1)
        return x[torch.arange(x.shape[0], device=x.device), positions].unsqueeze(1)

    def rotary(self, rotary: Rotary | None) -> Rotary | None:
        """The angles of the kept positions."""
        return None if rotary is None else rotary.at(self.positions.to(rotary.cos.device))


Window = Suffix | AtAnswer


def tile(x: Shaped[Tensor, "row *rest"], n_units: int) -> Shaped[Tensor, "unit_row *rest"]:
    """Repeat the rows of all prompts for every stacked intervention."""
    return x.repeat(n_units, *[1] * (x.ndim - 1))
