"""Queries, keys and values of a block, and the scores between them."""

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from circuitkit.models.attention import rotate_heads
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.rotary import Rotary

Projected = tuple[Float[Tensor, "row pos width"], Float[Tensor, "row pos kv"], Float[Tensor, "row pos kv"]]
"""Queries and keys (both rotated where the family rotates) and values, heads side by side."""


@torch.no_grad()
def projected(
    model: HookedModel, layer: int, hidden: Float[Tensor, "row pos d_model"], rotary: Rotary | None
) -> Projected:
    """What the attention of a block makes of the residual stream before it.

    Args:
        model: The model.
        layer: The block.
        hidden: The stream.
        rotary: The angles of its positions, if the family rotates.
    """
    family, d_head = model.family, model.info.d_head
    block = family.blocks(model.raw)[layer]
    read = family.attention_norm(block, hidden)
    queries = rotate_heads(family.queries(block, read), rotary, d_head=d_head)
    keys, values = family.keys_values(block, read)
    return queries, rotate_heads(keys, rotary, d_head=d_head), values


def attention_scores(
    queries: Float[Tensor, "row query width"], keys: Float[Tensor, "row key kv"], *, d_head: int, scaling: float
) -> Float[Tensor, "row head query key"]:
    """Scores before the softmax, unmasked: q . k times the scaling, of every query head."""
    q = rearrange(queries, "row pos (head d) -> row head pos d", d=d_head)
    k = per_head(keys, q.shape[1], d_head)
    return einsum(q, k, "row head query d, row head key d -> row head query key") * scaling


def per_head(x: Float[Tensor, "row pos kv"], n_heads: int, d_head: int) -> Float[Tensor, "row head pos d_head"]:
    """Every query head's view of keys or values that several of them may share."""
    split = rearrange(x, "row pos (group d) -> row group pos d", d=d_head)
    return repeat(split, "row group pos d -> row (group share) pos d", share=n_heads // split.shape[1])
