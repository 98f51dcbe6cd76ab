"""Exact suffix replay: an intervention re-runs only what lies behind it.

One clean run keeps every block's input, the head values and the MLP outputs. Runs with interventions in the same
block are stacked along the rows. In that block nothing but the change itself is new; the blocks behind it run only
from the first changed position on, where the model is causal, with the clean keys and values before it; the last
block has queries, MLP, final norm and unembedding at the answer position only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.interventions.clean_run import run_clean
from circuitkit.interventions.edit import edit_heads, edit_mlp, edit_stream
from circuitkit.interventions.head_source import HeadSource
from circuitkit.interventions.intervention import Intervention, Where
from circuitkit.interventions.replacement import Values
from circuitkit.interventions.rows import Rows
from circuitkit.interventions.window import AtAnswer, Suffix, Window, tile
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.offload import device_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stack:
    """Runs that are replayed together, one after the other along the rows."""

    units: Sequence[Intervention]
    values: Values
    window: Suffix
    alike: int

    def single_heads(self, layer: int) -> list[tuple[int, Where | None]] | None:
        """The head that each run replaces in a block and where; None if any replaces anything else in it."""
        edits = [unit.on(layer) for unit in self.units]
        if any(len(edit) != 1 or edit[0][0].kind != "head" for edit in edits):
            return None
        return [
            (site.head, where) for ((site, where),) in edits if isinstance(site, Component) and site.head is not None
        ]

    def edits(self, layer: int) -> set[str]:
        """The kinds of sites that any of the runs replaces in a block."""
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
        clean = run_clean(model, rows)
        self.hidden, self.z, self.mlp, self._attention = clean.hidden, clean.z, clean.mlp, clean.attention
        self.last: Float[Tensor, "row d_model"] = self._answer.of(clean.resid)[:, 0]
        self._head_source: tuple[tuple[int, int], HeadSource] | None = None

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
        *,
        alike: int | None = None,
    ) -> Float[Tensor, "unit row logit"]:
        """Logits at the answer position under interventions, each in a run of its own.

        Args:
            interventions: Which components are replaced, where, in these prompts. Those that start in one block
                at one position are run with the least waste.
            values: What replaces them.
            tokens: Unembed these tokens of each row only; None unembeds the vocabulary.
            alike: How many interventions will be asked for, here and in other calls, that start in the same block at
                the same position; None: these. With many, more is prepared for all of them together.
        """
        layer = min(i.first_layer for i in interventions)
        window = Suffix(start=min(self.start(i, values) for i in interventions))
        heads = [i for i in interventions if any(site.kind == "head" for site, _ in i.on(layer))]
        units = [*heads, *(i for i in interventions if i not in heads)]
        kinds = [some for some in (heads, units[len(heads) :]) if some]
        parts = [_Stack(units=some, values=values, window=window, alike=alike or len(units)) for some in kinds]
        resid = torch.cat([self._source(layer, part) for part in parts])
        stack = _Stack(units=units, values=values, window=window, alike=len(units))
        for n in range(layer + 1, len(self.blocks)):
            resid = self._block(n, resid, stack)
        stacked = rearrange(resid[:, 0], "(unit row) d_model -> unit row d_model", unit=len(units))
        return self._unembed(stacked, tokens)[[units.index(i) for i in interventions]]

    def _source(self, layer: int, stack: _Stack) -> Float[Tensor, "unit_row kept d_model"]:
        """Residual stream behind the first changed block, in which the attention has seen nothing new."""
        if layer < 0:
            return self._edited(layer, tile(stack.window.of(self.hidden[0]), len(stack.units)), stack, stack.window)
        family, block, n_units = self.model.family, self.blocks[layer], len(stack.units)
        kept: Window = self._answer if layer == len(self.blocks) - 1 else stack.window
        hidden, z = kept.of(self.hidden[layer]), kept.of(self.z[layer]).contiguous()
        if "head" in stack.edits(layer):
            changed = self._heads_alone(layer, stack, kept, hidden, z)
            if changed is not None:
                return changed
            return self._close(layer, tile(hidden, n_units), tile(z, n_units), stack)
        mid = family.mid(block, hidden, family.out_proj(block)(rearrange(z, "r p h d -> r p (h d)")))
        mlp_out = tile(kept.of(self.mlp[layer]), n_units)
        if "mlp" in stack.edits(layer):
            edit_mlp(mlp_out, layer, stack.units, stack.values.mlp(layer), kept)
        return self._edited(layer, family.close(block, tile(mid, n_units), mlp_out), stack, kept)

    def _heads_alone(
        self,
        layer: int,
        stack: _Stack,
        kept: Window,
        hidden: Float[Tensor, "row kept d_model"],
        z: Float[Tensor, "row kept head d_head"],
    ) -> Float[Tensor, "unit_row kept d_model"] | None:
        """The same where every run replaces one head and there are enough of them to prepare the block; else None."""
        single, places = stack.single_heads(layer), hidden.shape[0] * hidden.shape[1]
        worth_it = stack.alike * places >= 2 * (places + self.model.info.d_model)
        if single is None or not worth_it or self.model.dtype != torch.float32:
            return None
        key = layer, stack.window.start
        if self._head_source is None or self._head_source[0] != key:
            self._head_source = key, HeadSource(self.model, layer, hidden, z)
        new = kept.of(stack.values.z(layer)).to(z.device)
        heads = torch.tensor([head for head, _ in single], device=z.device)
        change = rearrange((new - z)[:, :, heads], "row pos unit d_head -> unit row pos d_head")
        for i, (_, where) in enumerate(single):
            if where is not None:
                change[i] *= kept.of(where)[..., None].to(z.device)
        return self._head_source[1].run(change, heads)

    def _block(
        self, layer: int, resid: Float[Tensor, "unit_row pos d_model"], stack: _Stack
    ) -> Float[Tensor, "unit_row kept d_model"]:
        """One block behind the first changed one; of the last one only the answer position."""
        block = self.blocks[layer]
        resid = resid.to(device_of(block))
        read = self.model.family.attention_norm(block, resid)
        if layer < len(self.blocks) - 1:
            return self._close(layer, resid, self._attention.everywhere(layer, read, stack.window), stack)
        answer = self.rows.answer_pos.repeat(len(stack.units)) - stack.window.start
        z = self._attention.at_answer(layer, read, stack.window)
        return self._close(layer, AtAnswer(positions=answer).of(resid), z, stack)

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
        return self._edited(layer, family.close(block, mid, mlp_out), stack, kept)

    @staticmethod
    def _edited(
        layer: int, resid: Float[Tensor, "unit_row kept d_model"], stack: _Stack, kept: Window
    ) -> Float[Tensor, "unit_row kept d_model"]:
        """The stream behind a block, which is overwritten where a run replaces it."""
        if "stream" in stack.edits(layer):
            edit_stream(resid, layer, stack.units, stack.values.stream(layer), kept)
        return resid

    def _unembed(
        self, resid: Float[Tensor, "*unit row d_model"], tokens: Int[Tensor, "row token"] | None
    ) -> Float[Tensor, "*unit row logit"]:
        family, raw = self.model.family, self.model.raw
        return family.unembed(raw, resid) if tokens is None else family.unembed_tokens(raw, resid, tokens)
