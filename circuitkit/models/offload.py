"""Weights and places of modules that accelerate spreads over devices, memory and disk (`device_map`)."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn


def weight_of(module: nn.Module, name: str = "weight") -> Tensor:
    """A parameter or buffer of a module itself, fetched where accelerate keeps it outside the module.

    Args:
        module: The module that owns it.
        name: Its name there.
    """
    tensor = getattr(module, name)
    if not tensor.is_meta:
        return tensor
    return next(hook.weights_map[name] for hook in _hooks(module) if hook.weights_map is not None).to(device_of(module))


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes: where its first parameter lies, or where accelerate brings it when it is called."""
    parameter = next(module.parameters())
    if not parameter.is_meta:
        return parameter.device
    places = (hook.execution_device for part in module.modules() for hook in _hooks(part))
    return next(torch.device(place) for place in places if place is not None)


def _hooks(module: nn.Module) -> Iterator[Any]:
    """The hooks of accelerate that move a module's weights; none where accelerate has nothing to do."""
    hook = cast(Any, getattr(module, "_hf_hook", None))
    for part in getattr(hook, "hooks", (hook,)):
        if hasattr(part, "weights_map"):
            yield part
