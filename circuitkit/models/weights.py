"""Checks and digests of weights."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from circuitkit.core.errors import ModelError
from circuitkit.models.offload import weight_of


def weights_digest(raw: nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every entry of the state dict, in order of their names.

    Tied weights count once, under the first of their names. The digest is of the weights as loaded: the same
    checkpoint loaded in another dtype has another one.
    """
    digest = hashlib.sha256()
    for name, tensor in _distinct(raw):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def count_parameters(raw: nn.Module) -> int:
    """Number of parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in raw.parameters())


def check_finite(raw: nn.Module, name: str) -> None:
    """Refuse weights that hold NaN or infinity.

    Raises:
        ModelError: Names the first such parameter.
    """
    for parameter, tensor in _distinct(raw):
        # The extremes are not finite when any value is not, and take a tenth of the time of looking at each.
        if tensor.is_floating_point() and not bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise ModelError(
                f"Model {name!r}: {parameter} holds {bad} NaN or infinite values of {tensor.numel()}; wanted "
                "finite weights. Load an intact checkpoint, or a wider --dtype."
            )


def _distinct(raw: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The state dict in order of names, each storage once; also what accelerate keeps outside the modules."""
    seen: set[tuple[int, torch.Size]] = set()
    for name, entry in sorted(raw.state_dict().items()):
        tensor = entry.detach()
        if tensor.is_meta:
            owner, _, own = name.rpartition(".")
            tensor = weight_of(raw.get_submodule(owner), own)
        elif (tensor.data_ptr(), tensor.shape) in seen:
            continue
        else:
            seen.add((tensor.data_ptr(), tensor.shape))
        yield name, tensor
