"""Rotary position embedding (Su et al. 2021), as Llama applies it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rotary:
    """The angles of some positions; feature i of a head turns with feature i + d_head / 2.

    Attributes:
        cos: Cosines, the same in both halves of the last axis.
        sin: Sines, likewise.
    """

    cos: Float[Tensor, "#row pos 1 d_head"]
    sin: Float[Tensor, "#row pos 1 d_head"]

    def rotate(self, x: Float[Tensor, "row pos head d_head"]) -> Float[Tensor, "row pos head d_head"]:
        """Rotate queries or keys by the angles of their positions."""
        half, cos, sin = x.shape[-1] // 2, self.cos.to(x.device), self.sin.to(x.device)
        out = x * cos
        out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
        out[..., half:].addcmul_(x[..., :half], sin[..., half:])
        return out

    def since(self, start: int) -> "Rotary":
        """The positions from `start` on."""
        return Rotary(cos=self.cos[:, start:], sin=self.sin[:, start:])

    def at(self, positions: Int[Tensor, " row"]) -> "Rotary":
        """One position for every row."""
        cos, sin = (x.expand(len(positions), *x.shape[1:]) for x in (self.cos, self.sin))
        row = torch.arange(len(positions), device=positions.device)
        return Rotary(cos=cos[row, positions][:, None], sin=sin[row, positions][:, None])
