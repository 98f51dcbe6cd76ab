"""The plain forward pass of a model whose edges carry either what their sender writes now or its replacement.

Everything is computed, every receiver reads a stream of its own, and nothing is reused: what the fast replay is
checked against.
"""

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from circuitkit.core.edge import EdgeSpace
from circuitkit.interventions.replacement import Values
from circuitkit.interventions.rows import Rows
from circuitkit.interventions.window import AtAnswer
from circuitkit.models.attention import allowed, attend, rotate_heads
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.offload import device_of, weight_of


class EdgeForward:
    """Some prompts, and the values that edges carry which are not kept.

    Args:
        model: The model; its raw module must be in evaluation mode.
        rows: The prompts.
        values: What senders write on edges that are not kept.
    """

    def __init__(self, model: HookedModel, rows: Rows, values: Values) -> None:
        self.model, self.rows, self.values = model, rows, values
        self.space = EdgeSpace(model.info.n_layers, model.info.n_heads)
        self.blocks = model.family.blocks(model.raw)
        self.rotary = model.family.rotary(model.raw, rows.ids)

    @torch.no_grad()
    def run(
        self, kept: Bool[Tensor, "unit receiver sender"], tokens: Int[Tensor, "row token"] | None = None
    ) -> Float[Tensor, "unit row logit"]:
        """Logits at the answer position with some sets of edges kept, each in a run of its own.

        Args:
            kept: The sets, in the order of `EdgeSpace`; the other edges carry replacement values.
            tokens: Unembed these tokens of each row only; None unembeds the vocabulary.
        """
        n_units, family, raw = len(kept), self.model.family, self.model.raw
        kept = kept.to(self.model.device)
        embed = family.embed(raw, self.rows.ids)
        changes = [repeat(embed - self.values.embed, "row pos d -> unit row pos d", unit=n_units)]
        per_block = 3 * self.model.info.n_heads + 1
        for layer, block in enumerate(self.blocks):
            of_block = kept[:, layer * per_block : (layer + 1) * per_block]
            reads = family.attention_norm(block, self._streams(of_block[:, :-1], changes))
            changes += self._heads(layer, reads, n_units)
            mid = self._streams(of_block[:, -1:], changes).to(device_of(block))
            out = rearrange(family.mlp_out(block, mid), "(unit row) pos d -> unit row pos d", unit=n_units)
            changes.append(out - self.values.mlp(layer).to(out.device))
        resid = AtAnswer(positions=self.rows.answer_pos.repeat(n_units)).of(self._streams(kept[:, -1:], changes))
        resid = rearrange(resid[:, 0], "(unit row) d -> unit row d", unit=n_units)
        return family.unembed(raw, resid) if tokens is None else family.unembed_tokens(raw, resid, tokens)

    def _heads(
        self, layer: int, reads: Float[Tensor, "receiver_unit_row pos d_model"], n_units: int
    ) -> list[Float[Tensor, "unit row pos d_model"]]:
        """By how much every head's write differs from its replacement."""
        model, block = self.model, self.blocks[layer]
        info, family = model.info, model.family
        maps, per_kv = family.projections(block), info.n_heads // info.n_kv_heads
        reads = rearrange(reads, "(head input rest) pos d -> head input rest pos d", head=info.n_heads, input=3)
        may = allowed(self.rows.mask, is_causal=model.is_causal, first_query=0)
        may = may.repeat(n_units, 1, 1, 1) if may is not None and len(may) > 1 else may
        replaced, changes = self.values.z(layer), list[Tensor]()
        for head, w_o in enumerate(model.w_o(layer)):
            q, k, v = (
                nn.functional.linear(
                    reads[head, i],
                    some.weight.T,
                    some.bias,
                )
                for i, some in enumerate(
                    one.columns(n * info.d_head, (n + 1) * info.d_head)
                    for one, n in ((maps.q, head), (maps.k, head // per_kv), (maps.v, head // per_kv))
                )
            )
            q, k = (rotate_heads(x, self.rotary, d_head=info.d_head) for x in (q, k))
            z = attend(q, k, v, d_head=info.d_head, scaling=family.scaling(block), mask=may)
            z = rearrange(z, "(unit row) pos 1 d_head -> unit row pos d_head", unit=n_units)
            change = z - replaced[:, :, head].to(z.device)
            changes.append(einsum(change, w_o, "unit row pos d_head, d_head d -> unit row pos d"))
        return changes

    def _streams(
        self, kept: Bool[Tensor, "unit receiver sender"], changes: list[Float[Tensor, "unit row pos d_model"]]
    ) -> Float[Tensor, "receiver_unit_row pos d_model"]:
        """What receivers that are computed at one point read, before any norm of their own."""
        receivers, n_heads = kept.shape[1], self.model.info.n_heads

        def added(to: Tensor, first: int, count: int) -> Tensor:
            """Replacement values, and the changes of the senders whose edges are kept."""
            some = changes[first : first + count]
            kept_of = kept[:, :, first : first + count].to(some[0].dtype)
            change = einsum(kept_of, torch.stack(some), "unit receiver s, s unit row pos d -> receiver unit row pos d")
            return (change + to.to(change.device)).flatten(0, 2)

        stream = added(self.values.embed, 0, 1)
        for layer, block in enumerate(self.blocks):
            first = 1 + layer * (n_heads + 1)
            if first >= len(changes):
                break
            write = self._projected(layer)
            stream = self.model.family.mid(block, stream, added(write, first, n_heads))
            if first + n_heads >= len(changes):
                break
            stream = self.model.family.close(block, stream, added(self.values.mlp(layer), first + n_heads, 1))
        assert stream.shape[0] == receivers * kept.shape[0] * len(self.rows.ids)
        return stream

    def _projected(self, layer: int) -> Float[Tensor, "#row #pos d_model"]:
        """What the attention writes with all heads replaced; its bias belongs to no head and stays."""
        projection = self.model.family.out_proj(self.blocks[layer])
        z = self.values.z(layer).to(weight_of(projection).device)
        return projection(rearrange(z, "row pos head d -> row pos (head d)"))
