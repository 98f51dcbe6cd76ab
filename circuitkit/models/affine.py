"""A matrix and its bias, as the mathematics writes them: x -> x W + b."""

from dataclasses import dataclass
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from circuitkit.models.offload import weight_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Affine:
    """A linear layer.

    Attributes:
        weight: The matrix, [input, output] whatever the module keeps.
        bias: Its bias, if it has one.
    """

    weight: Float[Tensor, "input output"]
    bias: Float[Tensor, " output"] | None

    @property
    def width(self) -> int:
        """Number of outputs."""
        return self.weight.shape[1]

    def columns(self, start: int, end: int) -> "Affine":
        """Some of the outputs."""
        return Affine(
            weight=self.weight[:, start:end],
            bias=None if self.bias is None else self.bias[start:end],
        )


def affine_of(module: nn.Module, *, transposed: bool = False) -> Affine:
    """The matrix and bias of a linear module.

    Args:
        module: An `nn.Linear`, whose weight is [output, input], or another module that keeps one.
        transposed: Whether it keeps its weight [input, output], as `Conv1D` does.
    """
    weight = weight_of(module)
    bias = None if cast(Tensor | None, module.bias) is None else weight_of(module, "bias")
    return Affine(weight=weight if transposed else weight.T, bias=bias)
