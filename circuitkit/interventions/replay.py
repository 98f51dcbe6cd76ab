"""Exact suffix replay: an intervention re-runs only what lies behind it.

One clean forward of the raw model keeps every block's input, the head values and the MLP outputs. Runs with
interventions in the same block are stacked along the rows. In that block nothing but the change itself is new;
the blocks behind it run only from the first changed position on, where the model is causal, with the clean keys
and values before it; the last block has queries, MLP, final norm and unembedding at the answer position only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.interventions.edit import edit_heads, edit_mlp
from circuitkit.interventions.intervention import Intervention
from circuitkit.interventions.replacement import Values
from circuitkit.interventions.rows import Rows
from circuitkit.interventions.window import AtAnswer, Suffix, Window, tile
from circuitkit.models.attention import allowed, attend, rotate_heads
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.offload import device_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stack:
    """Runs that are replayed together, one after the other along the rows."""

    units: Sequence[Intervention]
    values: Values
    window: Suffix

    def edits(self, layer: int) -> set[str]:
        """The kinds of components that any of the runs replaces in a block."""
        return {component.kind for unit in self.units for component, _ in unit.on(layer)}


class Replay:
    """The clean run of some prompts, from which runs with interventions are replayed.

    Args:
        model: The model; its raw module must be in evaluation mode.
        rows: The prompts.
    """

    @torch.no_grad()
    def __init__(self, model: HookedModel, rows: Rows) -> None:
        self.model, self.rows = model, rows
        self.blocks = model.family.blocks(model.raw)
        found = model.capture(rows.ids, rows.mask, ("z", "mlp_out", "resid_pre", "resid_post"))
        self.z, self.mlp, self.hidden = found["z"], found["mlp_out"], found["resid_pre"]
        self.last: Float[Tensor, "row d_model"] = self._answer.of(found["resid_post"][len(self.blocks) - 1])[:, 0]
        self._rotary = model.family.rotary(model.raw, rows.ids)
        self._kept_keys_values: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def _answer(self) -> AtAnswer:
        return AtAnswer(positions=self.rows.answer_pos)

    @torch.no_grad()
    def clean(self, tokens: Int[Tensor, "row token"] | None = None) -> Float[Tensor, "row logit"]:
        """Logits at the answer position with nothing replaced: of some tokens, or of the vocabulary."""
        return self._unembed(self.last, tokens)

    def start(self, intervention: Intervention, values: Values) -> int:
        """The first position that an intervention changes; what is before it need not be run."""
        if not self.model.is_causal:
            return 0
        first = max(values.start, intervention.first_position())
        return min(first, int(self.rows.answer_pos.min()))

    @torch.no_grad()
    def run(
        self,
        interventions: Sequence[Intervention],
        values: Values,
        tokens: Int[Tensor, "row token"] | None = None,
    ) -> Float[Tensor, "unit row logit"]:
        """Logits at the answer position under interventions, each in a run of its own.

        Args:
            interventions: Which components are replaced, where, in these prompts. Those that start in one block
                at one position are run with the least waste.
            values: What replaces them.
            tokens: Unembed these tokens of each row only; None unembeds the vocabulary.
        """
        layer = min(i.first_layer for i in interventions)
        window = Suffix(start=min(self.start(i, values) for i in interventions))
        heads = [i for i in interventions if any(c.head is not None for c, _ in i.on(layer))]
        units = [*heads, *(i for i in interventions if i not in heads)]
        parts = [_Stack(units=some, values=values, window=window) for some in (heads, units[len(heads) :]) if some]
        resid = torch.cat([self._source(layer, part) for part in parts])
        stack = _Stack(units=units, values=values, window=window)
        for n in range(layer + 1, len(self.blocks)):
            resid = self._block(n, resid, stack)
        stacked = rearrange(resid[:, 0], "(unit row) d_model -> unit row d_model", unit=len(units))
        return self._unembed(stacked, tokens)[[units.index(i) for i in interventions]]

    def _source(self, layer: int, stack: _Stack) -> Float[Tensor, "unit_row kept d_model"]:
        """Residual stream behind the first changed block, in which the attention has seen nothing new."""
        family, block, n_units = self.model.family, self.blocks[layer], len(stack.units)
        kept: Window = self._answer if layer == len(self.blocks) - 1 else stack.window
        hidden, z = kept.of(self.hidden[layer]), kept.of(self.z[layer]).contiguous()
        if stack.edits(layer) != {"mlp"}:
            return self._close(layer, tile(hidden, n_units), tile(z, n_units), stack)
        mid = family.mid(block, hidden, family.out_proj(block)(rearrange(z, "r p h d -> r p (h d)")))
        mlp_out = tile(kept.of(self.mlp[layer]), n_units)
        edit_mlp(mlp_out, layer, stack.units, stack.values.mlp(layer), kept)
        return family.close(block, tile(mid, n_units), mlp_out)

    def _block(
        self, layer: int, resid: Float[Tensor, "unit_row pos d_model"], stack: _Stack
    ) -> Float[Tensor, "unit_row kept d_model"]:
        """One block behind the first changed one; of the last one only the answer position."""
        family, block, start = self.model.family, self.blocks[layer], stack.window.start
        resid, n_units = resid.to(device_of(block)), len(stack.units)
        read = family.attention_norm(block, resid)
        keys, values = self._keys_values(layer, read, stack)
        at_end = layer == len(self.blocks) - 1
        may = self._may_see(start, at_end=at_end, n_units=n_units)
        asked: Window = stack.window
        if at_end:
            positions = self.rows.answer_pos.repeat(n_units)
            asked, inside = AtAnswer(positions=positions), AtAnswer(positions=positions - start)
            read, resid = inside.of(read), inside.of(resid)
        z = attend(
            rotate_heads(family.queries(block, read), asked.rotary(self._rotary), d_head=self.model.info.d_head),
            keys,
            values,
            d_head=self.model.info.d_head,
            scaling=family.scaling(block),
            mask=None if may is None else may.to(resid.device),
        )
        return self._close(layer, resid, z, stack)

    def _keys_values(
        self, layer: int, read: Float[Tensor, "unit_row kept d_model"], stack: _Stack
    ) -> tuple[Float[Tensor, "unit_row pos kv_width"], Float[Tensor, "unit_row pos kv_width"]]:
        """Keys and values of every position: the clean run's before the window."""
        family, block, d_head = self.model.family, self.blocks[layer], self.model.info.d_head
        keys, values = family.keys_values(block, read)
        keys = rotate_heads(keys, stack.window.rotary(self._rotary), d_head=d_head)
        if not stack.window.start:
            return keys, values
        if layer not in self._kept_keys_values:
            old_keys, old_values = family.keys_values(block, family.attention_norm(block, self.hidden[layer]))
            self._kept_keys_values[layer] = rotate_heads(old_keys, self._rotary, d_head=d_head), old_values
        old_keys, old_values = (
            tile(old[:, : stack.window.start], len(stack.units)) for old in self._kept_keys_values[layer]
        )
        return torch.cat([old_keys, keys], 1), torch.cat([old_values, values], 1)

    def _may_see(self, start: int, *, at_end: bool, n_units: int) -> Bool[Tensor, "#unit_row 1 #query pos"] | None:
        """Which keys the queries of a block may look at; in the last block the answer position asks alone."""
        mask, is_causal = self.rows.mask, self.model.is_causal
        if at_end and is_causal:
            at = torch.arange(mask.shape[1], device=mask.device)
            may = (at <= self.rows.answer_pos[:, None])[:, None, None]
        else:
            may = allowed(mask, is_causal=is_causal, first_query=start)
        return may if may is None or may.shape[0] == 1 else tile(may, n_units)

    def _close(
        self,
        layer: int,
        resid: Float[Tensor, "unit_row kept d_model"],
        z: Float[Tensor, "unit_row kept head d_head"],
        stack: _Stack,
    ) -> Float[Tensor, "unit_row kept d_model"]:
        """The rest of a block once its head values are known, with what is replaced in it; `z` is overwritten."""
        family, block, edits = self.model.family, self.blocks[layer], stack.edits(layer)
        kept: Window = self._answer if layer == len(self.blocks) - 1 else stack.window
        if "head" in edits:
            edit_heads(z, layer, stack.units, stack.values.z(layer), kept)
        mid = family.mid(block, resid, family.out_proj(block)(rearrange(z, "r p h d -> r p (h d)")))
        mlp_out = family.mlp_out(block, mid)
        if "mlp" in edits:
            edit_mlp(mlp_out, layer, stack.units, stack.values.mlp(layer), kept)
        return family.close(block, mid, mlp_out)

    def _unembed(
        self, resid: Float[Tensor, "*unit row d_model"], tokens: Int[Tensor, "row token"] | None
    ) -> Float[Tensor, "*unit row logit"]:
        family, raw = self.model.family, self.model.raw
        return family.unembed(raw, resid) if tokens is None else family.unembed_tokens(raw, resid, tokens)
