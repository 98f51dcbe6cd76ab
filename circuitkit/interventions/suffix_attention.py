"""The attention of replayed runs: from the first changed position on, with the clean keys and values before it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.interventions.rows import Rows
from circuitkit.interventions.window import AtAnswer, Suffix, Window, tile
from circuitkit.models.attention import allowed, attend, attend_once, rotate_heads
from circuitkit.models.hooked_model import HookedModel


class SuffixAttention:
    """Head values of runs stacked along the rows, from what the attention of a block reads.

    Args:
        model: The model.
        rows: The prompts.
        hidden: By layer, the clean residual stream before each block.
    """

    def __init__(self, model: HookedModel, rows: Rows, hidden: dict[int, Float[Tensor, "row pos d_model"]]) -> None:
        self.model, self.rows, self.hidden = model, rows, hidden
        self.blocks = model.family.blocks(model.raw)
        self.rotary = model.family.rotary(model.raw, rows.ids)
        self._clean: dict[int, tuple[Tensor, Tensor]] = {}

    def everywhere(
        self, layer: int, read: Float[Tensor, "unit_row kept d_model"], window: Suffix
    ) -> Float[Tensor, "unit_row kept head d_head"]:
        """At all positions of the window.

        Args:
            layer: The block.
            read: What its attention reads in the window.
            window: The positions.
        """
        queries = self.model.family.queries(self.blocks[layer], read)
        may = allowed(self.rows.mask, is_causal=self.model.is_causal, first_query=window.start)
        return self._attend(layer, queries, read, asked=window, window=window, may=may)

    def at_answer(
        self, layer: int, read: Float[Tensor, "unit_row kept d_model"], window: Suffix
    ) -> Float[Tensor, "unit_row 1 head d_head"]:
        """At the answer position alone; see `everywhere`. In float32, without keys and values where none rotate."""
        family, block, mask = self.model.family, self.blocks[layer], self.rows.mask
        may = None if bool(mask.all()) else mask[:, None, None]
        if self.model.is_causal:
            at = torch.arange(mask.shape[1], device=mask.device)
            may = (at <= self.rows.answer_pos[:, None])[:, None, None]
        positions = self.rows.answer_pos.repeat(len(read) // len(mask))
        queries = family.queries(block, AtAnswer(positions=positions - window.start).of(read))
        maps = family.projections(block)
        if self.rotary is not None or self.model.dtype != torch.float32:  # rotated keys are no map of what is read
            asked = AtAnswer(positions=positions)
            return self._attend(layer, queries, read, asked=asked, window=window, may=may)
        if window.start:
            before = family.attention_norm(block, self.hidden[layer][:, : window.start])
            read = torch.cat([tile(before, len(read) // len(mask)), read], 1)
        return attend_once(
            queries,
            read,
            keys=maps.k,
            values=maps.v,
            d_head=self.model.info.d_head,
            scaling=family.scaling(block),
            mask=self._tiled(may, read),
        )

    def _attend(
        self,
        layer: int,
        queries: Float[Tensor, "unit_row asked width"],
        read: Float[Tensor, "unit_row kept d_model"],
        *,
        asked: Window,
        window: Suffix,
        may: Bool[Tensor, "#row 1 #asked pos"] | None,
    ) -> Float[Tensor, "unit_row asked head d_head"]:
        keys, values = self._keys_values(layer, read, window)
        return attend(
            rotate_heads(queries, asked.rotary(self.rotary), d_head=self.model.info.d_head),
            keys,
            values,
            d_head=self.model.info.d_head,
            scaling=self.model.family.scaling(self.blocks[layer]),
            mask=self._tiled(may, read),
        )

    def _keys_values(
        self, layer: int, read: Float[Tensor, "unit_row kept d_model"], window: Suffix
    ) -> tuple[Float[Tensor, "unit_row pos kv_width"], Float[Tensor, "unit_row pos kv_width"]]:
        """Keys and values of every position: the clean run's before the window."""
        family, block, d_head = self.model.family, self.blocks[layer], self.model.info.d_head
        keys, values = family.keys_values(block, read)
        keys = rotate_heads(keys, window.rotary(self.rotary), d_head=d_head)
        if not window.start:
            return keys, values
        if layer not in self._clean:
            old_keys, old_values = family.keys_values(block, family.attention_norm(block, self.hidden[layer]))
            self._clean[layer] = rotate_heads(old_keys, self.rotary, d_head=d_head), old_values
        n_units = len(read) // len(self.rows.mask)
        old_keys, old_values = (tile(old[:, : window.start], n_units) for old in self._clean[layer])
        return torch.cat([old_keys, keys], 1), torch.cat([old_values, values], 1)

    def _tiled(
        self, may: Bool[Tensor, "#row 1 #query pos"] | None, read: Float[Tensor, "unit_row kept d_model"]
    ) -> Bool[Tensor, "#unit_row 1 #query pos"] | None:
        """A mask for every stacked run, where the block computes."""
        if may is None:
            return None
        return (may if may.shape[0] == 1 else tile(may, len(read) // may.shape[0])).to(read.device)
