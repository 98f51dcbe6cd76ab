"""What the heads of a block read: patterns and values, apart, from the stream before the block."""

from dataclasses import dataclass

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from circuitkit.interventions.rows import Rows
from circuitkit.models.attention import allowed, rotate_heads
from circuitkit.models.hooked_model import HookedModel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadReads:
    """Patterns and values of all heads of one block, in float32 at the least.

    Attributes:
        pattern: Attention of every query; rows sum to 1. Rows of padding mean nothing.
        values: Values with their bias; under grouped queries, heads of a group have the same.
    """

    pattern: Float[Tensor, "row head query key"]
    values: Float[Tensor, "row key head d_head"]

    @property
    def z(self) -> Float[Tensor, "row query head d_head"]:
        """The value mixes: pattern times values."""
        return mix(self.pattern, self.values)


def mix(
    pattern: Float[Tensor, "row head query key"], values: Float[Tensor, "row key head d_head"]
) -> Float[Tensor, "row query head d_head"]:
    """The values of the keys, each as much as the pattern says."""
    return einsum(pattern, values, "row head query key, row key head d -> row query head d")


@torch.no_grad()
def head_reads(model: HookedModel, rows: Rows, layer: int, stream: Float[Tensor, "row pos d_model"]) -> HeadReads:
    """Patterns and values from the block's own projections and rotation; one block at a time, for memory.

    Args:
        model: The model.
        rows: The prompts.
        layer: The block.
        stream: The residual stream before it.
    """
    family, info = model.family, model.info
    block = family.blocks(model.raw)[layer]
    wide = torch.promote_types(stream.dtype, torch.float32)
    read, rotary = family.attention_norm(block, stream), family.rotary(model.raw, rows.ids)
    keys, values = family.keys_values(block, read)
    queries = rotate_heads(family.queries(block, read), rotary, d_head=info.d_head)
    keys = rotate_heads(keys, rotary, d_head=info.d_head)
    group = info.n_heads // info.n_kv_heads
    q = rearrange(queries, "row pos (head d) -> row pos head d", d=info.d_head).to(wide)
    k, v = (repeat(x, "row pos (kv d) -> row pos (kv g) d", d=info.d_head, g=group).to(wide) for x in (keys, values))
    scores = einsum(q, k, "row query head d, row key head d -> row head query key") * family.scaling(block)
    may = allowed(rows.mask, is_causal=model.is_causal, first_query=0)
    if may is not None:
        scores = scores.masked_fill_(~may.to(scores.device), float("-inf"))
    return HeadReads(pattern=scores.softmax(-1), values=v)
