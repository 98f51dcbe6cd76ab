"""Students that compute what their teacher computes, written in another basis inside heads and MLPs."""

import copy
from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from circuitkit.core.component import Component, all_components
from circuitkit.experiments.battery.layout import (
    BlockLayout,
    block_layouts,
    family_of,
    reorder_inputs,
    reorder_outputs,
    sizes_of,
)
from circuitkit.experiments.battery.orthogonal import random_orthogonal, rope_commuting
from circuitkit.models.affine import Affine
from circuitkit.models.family import Sizes

Relation = dict[Component, tuple[Component, ...]]
"""Student component -> the teacher components that it is made from; an empty tuple where it is made from none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """A student and where each of its components comes from.

    Attributes:
        raw: The student, a new model.
        relation: Student component -> teacher components; None where nothing is known, as between two models
            that were trained apart.
    """

    raw: PreTrainedModel
    relation: Relation | None


def same_components(raw: PreTrainedModel) -> Relation:
    """Every component from its namesake."""
    sizes = sizes_of(raw)
    return {component: (component,) for component in all_components(sizes.n_layers, sizes.n_heads)}


def identity(teacher: PreTrainedModel) -> Made:
    """The teacher itself, copied.

    Raises:
        ModelError: It is of a family that the battery does not know.
    """
    return Made(raw=copy.deepcopy(teacher), relation=same_components(teacher))


def permuted_heads(teacher: PreTrainedModel, *, seed: int) -> Made:
    """The heads of every layer in another order; where queries share keys, groups and heads within each group.

    Raises:
        ModelError: It is of a family that the battery does not know.
    """
    raw, sizes, generator = copy.deepcopy(teacher), sizes_of(teacher), torch.Generator().manual_seed(seed)
    relation = same_components(teacher)
    for layer, block in enumerate(block_layouts(raw)):
        shared = torch.randperm(sizes.n_kv_heads, generator=generator)
        queries = sizes.n_heads // sizes.n_kv_heads
        order = torch.cat([queries * kv + torch.randperm(queries, generator=generator) for kv in shared])
        for affine, heads in ((block.q, order), (block.k, shared), (block.v, shared)):
            reorder_outputs(affine, _places(heads, sizes.d_head))
        reorder_inputs(block.o, _places(order, sizes.d_head))
        relation |= {Component(layer, new): (Component(layer, old),) for new, old in enumerate(order.tolist())}
    return Made(raw=raw, relation=relation)


def _places(heads: Int[Tensor, " head"], d_head: int) -> Int[Tensor, " width"]:
    return rearrange(heads[:, None] * d_head + torch.arange(d_head), "head d -> (head d)")


def rotated_heads(teacher: PreTrainedModel, *, seed: int) -> Made:
    """Every head's values and, with them, its output in another basis; queries and keys in another basis too.

    W_V R and R^T W_O; W_Q S and W_K S. S is any orthogonal matrix where positions are added to the stream (GPT2,
    BERT). In Llama it must commute with RoPE: each of its frequency pairs is turned by an angle. Heads that share
    keys and values share R and S.

    Raises:
        ModelError: It is of a family that the battery does not know.
    """
    raw, sizes, generator = copy.deepcopy(teacher), sizes_of(teacher), torch.Generator().manual_seed(seed)
    draw = rope_commuting if family_of(teacher).name == "llama" else random_orthogonal
    for block in block_layouts(raw):
        values = torch.stack([random_orthogonal(sizes.d_head, generator) for _ in range(sizes.n_kv_heads)])
        keys = torch.stack([draw(sizes.d_head, generator) for _ in range(sizes.n_kv_heads)])
        _rotate(block, sizes, values=values, keys=keys)
    return Made(raw=raw, relation=same_components(teacher))


@torch.no_grad()
def _rotate(
    block: BlockLayout, sizes: Sizes, *, values: Float[Tensor, "kv d d"], keys: Float[Tensor, "kv d d"]
) -> None:
    queries = sizes.n_heads // sizes.n_kv_heads
    _turn_heads(block.v, values)
    _turn_heads(block.k, keys)
    _turn_heads(block.q, keys.repeat_interleave(queries, dim=0))
    written = rearrange(block.o.weight.double(), "(head d) out -> head d out", head=sizes.n_heads)
    turned = einsum(values.repeat_interleave(queries, dim=0), written, "head d e, head d out -> head e out")
    block.o.weight.copy_(rearrange(turned, "head e out -> (head e) out"))


def _turn_heads(affine: Affine, turns: Float[Tensor, "head d d"]) -> None:
    for tensor in (affine.weight, affine.bias):
        if tensor is not None:
            heads = rearrange(tensor.double(), "... (head d) -> ... head d", head=len(turns))
            turned = einsum(heads, turns, "... head d, head d e -> ... head e")
            tensor.copy_(rearrange(turned, "... head e -> ... (head e)"))


def permuted_neurons(teacher: PreTrainedModel, *, seed: int) -> Made:
    """The neurons of every MLP in another order.

    Raises:
        ModelError: It is of a family that the battery does not know.
    """
    raw, generator = copy.deepcopy(teacher), torch.Generator().manual_seed(seed)
    for block in block_layouts(raw):
        order = torch.randperm(block.exit.weight.shape[0], generator=generator)
        for entry in block.entries:
            reorder_outputs(entry, order)
        reorder_inputs(block.exit, order)
    return Made(raw=raw, relation=same_components(teacher))
