"""A head's values when its queries, keys, values or pattern are taken from other prompts.

What a head writes at a position is z = pattern v, pattern = softmax(q k' scale) over the keys that the position may
read. Each of q, k, v and pattern is taken from the partner of the prompt that runs, the others stay, and z is computed
anew from the mixture; rotation (RoPE) belongs to q and k. Heads that share keys and values (GQA) are patched one by
one: only this query head's view of the shared keys or values changes.
"""

from functools import cache
from typing import Literal

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.interventions.clean_run import run_clean
from circuitkit.interventions.replacement import Replacement, Values, first_difference
from circuitkit.interventions.rows import Rows, take
from circuitkit.models.attention import allowed, attend
from circuitkit.models.hooked_model import HookedModel
from circuitkit.probes.projected import Projected, attention_scores, per_head, projected
from circuitkit.tasks.token_block import TokenBlock

HeadPart = Literal["q", "k", "v", "pattern"]


def reads(part: HeadPart, where: Bool[Tensor, "prompt pos"], *, is_causal: bool) -> Bool[Tensor, "prompt pos"]:
    """The positions whose z can change when a part of a head is patched at some positions.

    A query or a row of the pattern belongs to the position that reads; a key or a value is read by all positions
    that may look there.
    """
    if part in ("q", "pattern"):
        return where
    return where.cumsum(1) > 0 if is_causal else where.any(1, keepdim=True).expand_as(where)


def mixed_heads(
    model: HookedModel,
    block: TokenBlock,
    *,
    into: TokenBlock,
    part: HeadPart,
    where: Bool[Tensor, "prompt pos"] | None = None,
) -> Replacement:
    """Head values of prompts one part of which comes from other prompts; `mlp` and streams are not replaced.

    Args:
        model: The model.
        block: The prompts that the part is taken from, row by row the partners of `into`, with tokens at the same
            positions.
        into: The prompts that run.
        part: `q`, `k`, `v` or `pattern` (the whole row of a query).
        where: At which positions the part is taken; None is everywhere.
    """

    def values(rows: Int[Tensor, " row"], length: int) -> Values:
        ours, theirs = take(into, rows, model), take(block, rows, model)
        here, there = run_clean(model, ours), run_clean(model, theirs)
        rotary = model.family.rotary(model.raw, ours.ids)
        place = None if where is None else where[rows, :length].to(model.device)

        @cache
        def z(layer: int) -> Float[Tensor, "row pos head d_head"]:
            own, other = (projected(model, layer, run.hidden[layer], rotary) for run in (here, there))
            return _z(model, layer, ours, own, other, part=part, where=place)

        return Values(
            z=z,
            mlp=lambda layer: here.mlp[layer],
            embed=here.hidden[0],
            start=first_difference(block.ids[rows], into.ids[rows]),
        )

    return values


@torch.no_grad()
def _z(
    model: HookedModel,
    layer: int,
    rows: Rows,
    own: Projected,
    other: Projected,
    *,
    part: HeadPart,
    where: Bool[Tensor, "row pos"] | None,
) -> Float[Tensor, "row pos head d_head"]:
    scaling = model.family.scaling(model.family.blocks(model.raw)[layer])
    d_head = model.info.d_head
    mask = allowed(rows.mask, is_causal=model.is_causal, first_query=0)
    if part == "pattern":
        scores = attention_scores(other[0], other[1], d_head=d_head, scaling=scaling)
        pattern = (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(-1)
        values = per_head(own[2], pattern.shape[1], d_head)
        theirs = einsum(pattern, values, "row head query key, row head key d -> row query head d")
        ours = attend(*own, d_head=d_head, scaling=scaling, mask=mask)
        return theirs if where is None else torch.where(where[..., None, None], theirs, ours)
    chosen = "qkv".index(part)
    mixed = list(own)
    mixed[chosen] = other[chosen] if where is None else torch.where(where[..., None], other[chosen], own[chosen])
    return attend(*mixed, d_head=d_head, scaling=scaling, mask=mask)
