"""A norm with the scale that it had in one run: linear, so that it can be given one write at a time."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from circuitkit.models.offload import weight_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenNorm:
    """LayerNorm or RMSNorm whose divisor is that of a run, whatever it is given (Elhage et al. 2021).

    The map of a sum is the sum of the maps; the bias is in none of them.

    Attributes:
        gain: Factor of every feature.
        bias: Added at the end by the whole norm; None where there is none.
        centred: Whether the mean is taken away first (LayerNorm).
        scale: The divisor in the run.
    """

    gain: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"] | None
    centred: bool
    scale: Float[Tensor, "row 1"]

    def of(self, write: Float[Tensor, "*unit row d_model"]) -> Float[Tensor, "*unit row d_model"]:
        """What becomes of a part of the stream, without the bias."""
        return self._centre(write.to(self.scale)) / self.scale * self.gain

    def back(self, direction: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """The transposed map: a write dotted with `back(direction)` is what it becomes, dotted with the direction."""
        return self._centre(direction.to(self.scale) * self.gain) / self.scale

    def _centre(self, x: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        return x - x.mean(-1, keepdim=True) if self.centred else x


def freeze_norm(norm: nn.Module, stream: Float[Tensor, "row d_model"]) -> FrozenNorm:
    """Keep the scale that a norm has on a stream; computed in float32 at the least.

    Args:
        norm: `nn.LayerNorm` or `LlamaRMSNorm`.
        stream: What the norm reads in the run.
    """
    centred = isinstance(norm, nn.LayerNorm)
    wide = torch.promote_types(stream.dtype, torch.float32)
    x = stream.to(wide)
    x = x - x.mean(-1, keepdim=True) if centred else x
    eps = cast(float, norm.eps if centred else cast(Any, norm).variance_epsilon)
    bias = weight_of(norm, "bias").detach().to(x) if centred and cast(Tensor | None, norm.bias) is not None else None
    return FrozenNorm(
        gain=weight_of(norm).detach().to(x),
        bias=bias,
        centred=centred,
        scale=(x.square().mean(-1, keepdim=True) + eps).sqrt(),
    )
