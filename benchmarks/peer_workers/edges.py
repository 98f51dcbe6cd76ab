"""The edges of the setting's model, in the order of circuitkit's `EdgeSpace`, which every worker answers in."""

from collections.abc import Sequence

import torch
from setting import N_HEADS, N_LAYERS, Place
from torch import Tensor

Receiver = tuple[Place | None, str]
"""Who reads (None: the logits), and for a head which of its inputs."""


def _senders(layer: int) -> list[Place | None]:
    return [*((layer, head) for head in range(N_HEADS)), (layer, None)]


def _receivers(layer: int) -> list[Receiver]:
    return [*(((layer, head), name) for head in range(N_HEADS) for name in "qkv"), ((layer, None), "")]


SENDERS: list[Place | None] = [None, *(place for layer in range(N_LAYERS) for place in _senders(layer))]
"""None is the embedding."""
RECEIVERS: list[Receiver] = [*(reader for layer in range(N_LAYERS) for reader in _receivers(layer)), (None, "")]


def without(kept: Tensor, edges: Sequence[Sequence[int]]) -> Tensor:
    """A set of edges [receiver, sender] without some edges, given as (receiver, sender)."""
    kept = kept.clone()
    for receiver, sender in edges:
        kept[receiver, sender] = False
    return kept


def edge_set(edges: Sequence[Sequence[int]]) -> Tensor:
    """A set of edges [receiver, sender], given as (receiver, sender)."""
    return ~without(torch.ones(len(RECEIVERS), len(SENDERS), dtype=torch.bool), edges)
