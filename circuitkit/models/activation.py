"""Activation functions of MLPs, written over their argument where PyTorch has them fused."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "transformers.activations.NewGELUActivation": lambda x: torch.ops.aten.gelu_(x, approximate="tanh"),
    "transformers.activations.GELUTanh": lambda x: torch.ops.aten.gelu_(x, approximate="tanh"),
    "transformers.activations.GELUActivation": torch.ops.aten.gelu_,
    "transformers.activations.SiLUActivation": torch.ops.aten.silu_,
    "torch.nn.modules.activation.SiLU": torch.ops.aten.silu_,
    "torch.nn.modules.activation.ReLU": torch.ops.aten.relu_,
}
"""By name: importing the classes would import transformers, which takes seconds."""


def activate(activation: nn.Module, x: Tensor) -> Tensor:
    """Apply an activation function; `x` may be overwritten.

    The fused functions differ from their Python forms by rounding: GPT-2's `NewGELUActivation` takes eight
    passes over memory in Python and one here. A class that is not listed runs as it is, and so do all where a
    gradient is asked for, which needs their input.

    Args:
        activation: The module that the model uses.
        x: Its input, any shape; no longer needed by the caller.
    """
    kind = type(activation)
    fused = _IN_PLACE.get(f"{kind.__module__}.{kind.__qualname__}")
    return activation(x) if fused is None or x.requires_grad else fused(x)
