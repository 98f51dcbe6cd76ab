"""The attention of every family: from queries, keys and values to z."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.models.affine import Affine
from circuitkit.models.rotary import Rotary


def attend(
    queries: Float[Tensor, "row query width"],
    keys: Float[Tensor, "row key kv_width"],
    values: Float[Tensor, "row key kv_width"],
    *,
    d_head: int,
    scaling: float,
    mask: Bool[Tensor, "#row 1 #query key"] | None,
) -> Float[Tensor, "row query head d_head"]:
    """Scaled dot-product attention (sdpa), for as many queries as are wanted; heads may share keys and values.

    Args:
        queries: Queries of all heads side by side, rotated where the family rotates.
        keys: Keys of all key-value heads side by side.
        values: Values of all key-value heads side by side.
        d_head: Width of a head.
        scaling: Factor of the scores.
        mask: True where a query may look at a key; None: everywhere.
    """
    q, k, v = (rearrange(x, "row pos (head d) -> row head pos d", d=d_head) for x in (queries, keys, values))
    z = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, scale=scaling, enable_gqa=k.shape[1] != q.shape[1]
    )
    return rearrange(z, "row head pos d -> row pos head d")


def attend_once(
    queries: Float[Tensor, "row 1 width"],
    read: Float[Tensor, "row key d_model"],
    *,
    keys: Affine,
    values: Affine,
    d_head: int,
    scaling: float,
    mask: Bool[Tensor, "#row 1 1 key"] | None,
) -> Float[Tensor, "row 1 head d_head"]:
    """The attention of one query a row, without keys and values: q . (x W) is (q W') . x.

    A key or value costs d_model times d_head operations a head and token, a score from the query's side d_model. The
    keys' bias adds the same to all scores of a query and falls out of the softmax; the values' passes through it.

    Args:
        queries: Queries of all heads side by side; keys must not be rotated, nor shared by heads.
        read: What keys and values are made of.
        keys: The map to keys.
        values: The map to values.
        d_head: Width of a head.
        scaling: Factor of the scores.
        mask: True where a query may look at a key; None: everywhere.
    """
    q = rearrange(queries, "row 1 (head d) -> head row d", d=d_head)
    to_keys = rearrange(keys.weight, "model (head d) -> head d model", d=d_head)
    asked = rearrange(torch.bmm(q, to_keys), "head row model -> row head model")
    scores = torch.bmm(asked, rearrange(read, "row key model -> row model key")).mul_(scaling)
    if mask is not None:
        scores = scores.masked_fill_(~mask[:, 0], float("-inf"))
    mixed = rearrange(torch.bmm(scores.softmax(-1), read), "row head model -> head row model")
    z = torch.bmm(mixed, rearrange(values.weight, "model (head d) -> head model d", d=d_head))
    if values.bias is not None:
        z += rearrange(values.bias, "(head d) -> head 1 d", d=d_head)
    return rearrange(z, "head row d -> row 1 head d")


def allowed(
    mask: Bool[Tensor, "row pos"], *, is_causal: bool, first_query: int
) -> Bool[Tensor, "#row 1 #query pos"] | None:
    """Which keys the queries from a position on may look at; None where they may look at all.

    Padding lies on the right, where the tokens of a causal model do not look, so that only encoders need to be
    told about it.

    Args:
        mask: True at tokens.
        is_causal: Whether a token sees only what is before it.
        first_query: Position of the first query.
    """
    length = mask.shape[1]
    if is_causal:
        at = torch.arange(length, device=mask.device)
        return (at <= at[first_query:, None])[None, None]
    return None if bool(mask.all()) else mask[:, None, None, :]


def rotate_heads(
    x: Float[Tensor, "row pos width"], rotary: Rotary | None, *, d_head: int
) -> Float[Tensor, "row pos width"]:
    """Rotate queries or keys of all heads; without a rotation they stay as they are."""
    if rotary is None:
        return x
    return rearrange(rotary.rotate(rearrange(x, "r p (h d) -> r p h d", d=d_head)), "r p h d -> r p (h d)")
