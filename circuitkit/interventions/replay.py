"""Exact suffix replay: an ablation in block l re-runs only what lies behind it.

One clean forward of the raw model keeps every block's input and call arguments, the head values and the MLP
outputs. Ablations of one block are stacked along the rows; in their own block nothing but the changed
component's write is new, the blocks behind it run in full, and the last block's MLP, the final norm and the
unembedding run at the answer position only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from circuitkit.core.component import Component
from circuitkit.interventions.replacement import Values
from circuitkit.interventions.rows import Rows, gather_positions
from circuitkit.models.hooked_model import HookedModel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Call:
    """How a module was called in the clean run: its input and everything else."""

    hidden: Tensor
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Replay:
    """The clean run of one shard of prompts, from which ablations are replayed.

    Args:
        model: The model; its raw module must be in evaluation mode.
        rows: The prompts.
    """

    @torch.no_grad()
    def __init__(self, model: HookedModel, rows: Rows) -> None:
        self.model, self.rows = model, rows
        self.blocks = model.family.blocks(model.raw)
        self._calls: dict[nn.Module, _Call] = {}
        watched = [*self.blocks, model.family.attention(self.blocks[-1])]
        handles = [m.register_forward_pre_hook(self._keep, with_kwargs=True) for m in watched]
        try:
            found = model.capture(rows.ids, rows.mask, ("z", "mlp_out", "resid_post"))
        finally:
            for handle in handles:
                handle.remove()
        self.z, self.mlp = found["z"], found["mlp_out"]
        last = gather_positions(found["resid_post"][len(self.blocks) - 1], rows.answer_pos)
        self.clean: Float[Tensor, "row vocab"] = model.family.unembed(model.raw, last[:, 0])

    def _keep(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if args:
            self._calls[module] = _Call(hidden=args[0], args=args[1:], kwargs=kwargs)
        else:
            rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
            self._calls[module] = _Call(hidden=kwargs["hidden_states"], args=(), kwargs=rest)

    @torch.no_grad()
    def ablate(self, units: Sequence[Component], values: Values) -> Float[Tensor, "unit row vocab"]:
        """Logits at the answer position with one component replaced at a time.

        Args:
            units: Components of one block; one replayed run each, stacked along the rows.
            values: What replaces them.
        """
        layer, n_rows, last = units[0].layer, self.rows.ids.shape[0], len(self.blocks) - 1
        assert all(unit.layer == layer for unit in units)
        kinds = [[u for u in units if u.kind == kind] for kind in ("head", "mlp")]
        resid = torch.cat([self._source(layer, same, values) for same in kinds if same])
        for n in range(layer + 1, last):
            resid = self._block(n, resid, len(units))
        if layer < last:
            resid = self._last_block(resid, len(units))
        logits = self.model.family.unembed(self.model.raw, resid[:, 0])
        order = [unit for same in kinds for unit in same]
        stacked = rearrange(logits, "(unit row) vocab -> unit row vocab", row=n_rows)
        return stacked[[order.index(u) for u in units]]

    def _source(self, layer: int, units: Sequence[Component], values: Values) -> Float[Tensor, "unit_row pos d_model"]:
        """Residual stream behind the ablated block; only the answer position of it if it is the last."""
        family, block = self.model.family, self.blocks[layer]
        hidden, z = self._calls[block].hidden, self.z[layer]
        new_z, new_mlp = values.z(layer), values.mlp(layer)
        if layer == len(self.blocks) - 1:
            hidden, z, new_z, new_mlp = (gather_positions(x, self.rows.answer_pos) for x in (hidden, z, new_z, new_mlp))
        if units[0].kind == "mlp":
            mid = family.mid(block, hidden, family.out_proj(block)(rearrange(z, "r p h d -> r p (h d)")))
            return family.close(block, mid, new_mlp.expand_as(mid))
        edited = repeat(z, "r p h d -> u r p h d", u=len(units)).clone()
        for i, unit in enumerate(units):
            edited[i, :, :, unit.head] = new_z[:, :, unit.head]
        attn_out = family.out_proj(block)(rearrange(edited, "u r p h d -> (u r) p (h d)"))
        mid = family.mid(block, repeat(hidden, "r p d -> (u r) p d", u=len(units)), attn_out)
        return family.close(block, mid, family.mlp_out(block, mid))

    def _block(
        self, layer: int, resid: Float[Tensor, "unit_row pos d_model"], n_units: int
    ) -> Float[Tensor, "unit_row pos d_model"]:
        call = self._calls[self.blocks[layer]]
        out = self.blocks[layer](resid, *self._tile(call.args, n_units), **self._tile(call.kwargs, n_units))
        return out[0] if isinstance(out, tuple) else out

    def _last_block(
        self, resid: Float[Tensor, "unit_row pos d_model"], n_units: int
    ) -> Float[Tensor, "unit_row 1 d_model"]:
        """Only the answer position is wanted, so everything behind the attention runs there alone."""
        family, block = self.model.family, self.blocks[-1]
        attention = family.attention(block)
        call = self._calls[attention]
        read = family.attention_norm(block, resid)
        out = attention(read, *self._tile(call.args, n_units), **self._tile(call.kwargs, n_units))
        answer_pos = repeat(self.rows.answer_pos, "row -> (unit row)", unit=n_units)
        at_answer = gather_positions(out[0] if isinstance(out, tuple) else out, answer_pos)
        attn_out = family.attention_to_out(block, at_answer)
        mid = family.mid(block, gather_positions(resid, answer_pos), attn_out)
        return family.close(block, mid, family.mlp_out(block, mid))

    def _tile(self, value: Any, n_units: int) -> Any:  # noqa: ANN401 - whatever a block was called with
        """Repeat per-prompt tensors for every stacked unit; what broadcasts over rows stays as it is."""
        if isinstance(value, Tensor):
            n_rows = self.rows.ids.shape[0]
            per_prompt = value.ndim >= 2 and value.shape[0] == n_rows > 1
            return value.repeat(n_units, *[1] * (value.ndim - 1)) if per_prompt else value
        if isinstance(value, tuple | list):
            return type(value)(self._tile(item, n_units) for item in value)
        if isinstance(value, Mapping):
            return {name: self._tile(item, n_units) for name, item in value.items()}
        return value
