"""Runs of sets of edges that compute only what can differ: the fast form of `EdgeForward`.

A component is computed only where something that reaches the logits reads it, and not at all where everything before
it is as in the clean run. Between several sets that are run together, whatever they have in common is computed once.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.edge import LOGITS, EdgeSpace, Input, Receiver, Sender
from circuitkit.interventions.edge_plan import AT_ANSWER, plan
from circuitkit.interventions.edge_streams import EdgeStreams
from circuitkit.interventions.edge_writes import EdgeWrites
from circuitkit.interventions.replacement import Values
from circuitkit.interventions.rows import Rows
from circuitkit.interventions.window import AtAnswer, Suffix
from circuitkit.models.attention import allowed, attend, rotate_heads
from circuitkit.models.hooked_model import HookedModel

Projected = dict[tuple[Component, Input], Float[Tensor, "_ row _ d_head"]]


class EdgeReplay:
    """Some prompts, and the values that edges carry which are not kept; see `EdgeForward`.

    Args:
        model: The model; its raw module must be in evaluation mode.
        rows: The prompts.
        values: What senders write on edges that are not kept.
        cache_bytes: How much of the clean run's writes may be kept to be used again.
    """

    @torch.no_grad()
    def __init__(self, model: HookedModel, rows: Rows, values: Values, *, cache_bytes: int = 2**30) -> None:
        self.model, self.rows = model, rows
        self.space = EdgeSpace(model.info.n_layers, model.info.n_heads)
        self.writes = EdgeWrites(model, rows, values, cache_bytes=cache_bytes)
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
        work = plan(self.space, kept)
        streams = EdgeStreams(self.writes, work)
        for layer in range(self.space.n_layers):
            heads = work.to_compute(tuple(Component(layer, head) for head in range(self.space.n_heads)))
            if heads:
                self._heads(layer, heads, streams)
            if work.to_compute((Component(layer),)):
                self._mlp(Component(layer), streams)
        resid = streams.read(LOGITS, at_answer=True)[:, :, 0]
        family, raw = self.model.family, self.model.raw
        logits = family.unembed(raw, resid) if tokens is None else family.unembed_tokens(raw, resid, tokens)
        return logits.expand(len(kept), *logits.shape[1:])

    def _mlp(self, mlp: Component, streams: EdgeStreams) -> None:
        at_answer = streams.plan.needed(mlp) == AT_ANSWER
        stream = streams.read(Receiver(mlp), at_answer=at_answer)
        out = self.model.family.mlp_out(self.writes.blocks[mlp.layer], stream.flatten(1, 2))
        replaced = self.writes.replaced(mlp.layer, mlp=True)[None]
        replaced = self.writes.at_answer(replaced) if at_answer else replaced
        change = out.unflatten(1, stream.shape[1:3]) - replaced
        streams.changes.write(self.space.sender_index[Sender(mlp)], change, at_answer=at_answer)

    def _heads(self, layer: int, heads: Sequence[Component], streams: EdgeStreams) -> None:
        """Compute some heads of a block, those together that are read at the same positions and vary alike."""
        projected = self._projected(layer, heads, streams)
        batches: dict[tuple[bool, int], list[Component]] = {}
        inputs: tuple[Input, ...] = ("q", "k", "v")
        for head in heads:
            at_answer = streams.plan.needed(head) == AT_ANSWER
            n_units = max(len(projected[head, name]) for name in inputs)
            batches.setdefault((at_answer, n_units), []).append(head)
        for (at_answer, n_units), some in batches.items():
            z = self._attend(layer, some, projected, at_answer=at_answer, n_units=n_units)
            changes = self.writes.head_changes(layer, [head.head or 0 for head in some], z, at_answer=at_answer)
            for head, change in zip(some, changes, strict=True):
                streams.changes.write(self.space.sender_index[Sender(head)], change, at_answer=at_answer)

    def _projected(self, layer: int, heads: Sequence[Component], streams: EdgeStreams) -> Projected:
        """Queries, keys and values, before any rotation; inputs that read the same stream are projected together."""
        groups: dict[tuple[bool, bytes], list[tuple[Component, Input]]] = {}
        inputs: tuple[Input, ...] = ("q", "k", "v")
        for head in heads:
            for name in inputs:
                at_answer = name == "q" and streams.plan.needed(head) == AT_ANSWER
                row = streams.plan.row(Receiver(head, name))
                groups.setdefault((at_answer, bytes([len(row) > 1]) + row.tobytes()), []).append((head, name))
        out: Projected = {}
        block, d_head = self.writes.blocks[layer], self.model.info.d_head
        maps = self.model.family.projections(block)
        for (at_answer, _), members in groups.items():
            stream = streams.read(Receiver(*members[0]), at_answer=at_answer)
            read = self.model.family.attention_norm(block, stream.flatten(1, 2))
            wanted = list(dict.fromkeys((name, self._map_index(head, name)) for head, name in members))
            some = [getattr(maps, name).columns(i * d_head, (i + 1) * d_head) for name, i in wanted]
            made = (read @ torch.cat([one.weight for one in some], dim=1)).split(d_head, dim=-1)
            values = {
                key: (part if one.bias is None else part + one.bias).unflatten(1, stream.shape[1:3])
                for key, part, one in zip(wanted, made, some, strict=True)
            }
            for head, name in members:
                out[head, name] = values[name, self._map_index(head, name)]
        return out

    def _map_index(self, component: Component, name: Input) -> int:
        """Which slice of its map an input uses: query heads may share keys and values."""
        info, head = self.model.info, component.head or 0
        return head if name == "q" else head // (info.n_heads // info.n_kv_heads)

    def _attend(
        self, layer: int, heads: Sequence[Component], projected: Projected, *, at_answer: bool, n_units: int
    ) -> Float[Tensor, "unit row kept head d_head"]:
        info, n_rows = self.model.info, len(self.rows.ids)
        inputs: tuple[Input, ...] = ("q", "k", "v")
        q, k, v = (
            rearrange(
                [projected[head, name].expand(n_units, -1, -1, -1) for head in heads],
                "head unit row pos d -> (unit row) pos (head d)",
            )
            for name in inputs
        )
        where = AtAnswer(positions=self.rows.answer_pos.repeat(n_units)) if at_answer else Suffix(start=0)
        q = rotate_heads(q, where.rotary(self.rotary), d_head=info.d_head)
        k = rotate_heads(k, self.rotary, d_head=info.d_head)
        z = attend(
            q,
            k,
            v,
            d_head=info.d_head,
            scaling=self.model.family.scaling(self.writes.blocks[layer]),
            mask=self._mask(at_answer=at_answer, n_units=n_units),
        )
        return z.unflatten(0, (n_units, n_rows))

    def _mask(self, *, at_answer: bool, n_units: int) -> Bool[Tensor, "#unit_row 1 #query pos"] | None:
        mask = self.rows.mask
        may = allowed(mask, is_causal=self.model.is_causal, first_query=0)
        if at_answer and self.model.is_causal:
            at = torch.arange(mask.shape[1], device=mask.device)
            may = (at <= self.rows.answer_pos[:, None])[:, None, None]
        return may.repeat(n_units, 1, 1, 1) if may is not None and len(may) > 1 else may
