"""What senders write beyond their replacement values, and the replacement values themselves."""

from collections.abc import Sequence

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.edge import EdgeSpace
from circuitkit.interventions.clean_run import run_clean
from circuitkit.interventions.replacement import Values
from circuitkit.interventions.rows import Rows
from circuitkit.interventions.window import AtAnswer
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.offload import weight_of


class EdgeWrites:
    """The clean run and the replacement values of some prompts, as writes to the residual stream.

    Args:
        model: The model.
        rows: The prompts.
        values: Replacement values.
        cache_bytes: How much of what `clean_change` gives may be kept to be given again.
    """

    def __init__(self, model: HookedModel, rows: Rows, values: Values, *, cache_bytes: int) -> None:
        self.model, self.rows, self._values = model, rows, values
        self._cache_left = cache_bytes
        self.family, self.blocks = model.family, model.family.blocks(model.raw)
        clean = run_clean(model, rows)
        self.hidden, self.z, self.mlp, self.last = clean.hidden, clean.z, clean.mlp, clean.resid
        self._replaced_z: dict[int, Tensor] = {}
        self._replaced: dict[tuple[int, bool], Tensor] = {}
        self._replaced_until: list[Tensor] = [torch.zeros(1, 1, 1)]
        self._mid: dict[int, Tensor] = {}
        self._changes: dict[int, Tensor] = {}

    def at_answer(self, x: Float[Tensor, "unit #row #pos *rest"]) -> Float[Tensor, "unit #row 1 *rest"]:
        """The answer position of every prompt."""
        flat = x.flatten(0, 1)
        if x.shape[2] == 1:
            return x
        if x.shape[1] == 1:
            return x[:, 0, self.rows.answer_pos].unsqueeze(2)
        return AtAnswer(positions=self.rows.answer_pos.repeat(len(x))).of(flat).unflatten(0, x.shape[:2])

    def clean_stream(self, layer: int, *, mid: bool) -> Float[Tensor, "1 row pos d_model"]:
        """The clean stream before a block, or between its attention and its MLP; behind the last block."""
        if not mid:
            return (self.hidden[layer] if layer < len(self.blocks) else self.last)[None]
        if layer not in self._mid:
            block, z = self.blocks[layer], rearrange(self.z[layer], "r p h d -> r p (h d)")
            self._mid[layer] = self.family.mid(block, self.hidden[layer], self.family.out_proj(block)(z))
        return self._mid[layer][None]

    def clean_change(self, column: int, space: EdgeSpace) -> Float[Tensor, "1 row pos d_model"]:
        """By how much a sender's write in the clean run differs from its replacement."""
        found = self._changes.get(column)
        if found is None:
            component = space.senders[column].component
            if component is None:
                change = self.hidden[0] - self.replaced_embed
            elif component.head is None:
                change = self.mlp[component.layer] - self.replaced(component.layer, mlp=True)
            else:
                z = self.z[component.layer][None, :, :, component.head, None]
                change = self.head_changes(component.layer, [component.head], z)[0][0]
            found = change[None]
            size = found.numel() * found.element_size()
            if size <= self._cache_left:
                self._cache_left -= size
                self._changes[column] = found
        return found

    @property
    def replaced_embed(self) -> Float[Tensor, "#row #pos d_model"]:
        """What stands in for the embedding."""
        return self._values.embed

    def replaced(self, layer: int, *, mlp: bool) -> Float[Tensor, "#row #pos d_model"]:
        """What a block's MLP, or its attention with all heads replaced (its bias stays), writes."""
        key = layer, mlp
        if key not in self._replaced:
            if mlp:
                self._replaced[key] = self._values.mlp(layer).to(self.mlp[layer].device)
            else:
                projection = self.family.out_proj(self.blocks[layer])
                z = rearrange(self.replaced_z(layer), "r p h d -> r p (h d)")
                self._replaced[key] = projection(z.to(weight_of(projection).device))
        return self._replaced[key]

    def replaced_between(self, start: int, end: int) -> Float[Tensor, "#row #pos d_model"]:
        """The sum of what `replaced` gives from one step to another; see `EdgeStreams` for how steps count."""
        while len(self._replaced_until) <= end:
            step = len(self._replaced_until) - 1
            write = self.replaced(step // 2, mlp=bool(step % 2))
            before = self._replaced_until[-1] if step else torch.zeros_like(write)
            self._replaced_until.append(before.to(write.device) + write)
        until = self._replaced_until[end]
        return until - self._replaced_until[start].to(until.device) if start else until

    def replaced_z(self, layer: int) -> Float[Tensor, "#row #pos head d_head"]:
        """What stands in for the head values of a block."""
        if layer not in self._replaced_z:
            self._replaced_z[layer] = self._values.z(layer).to(self.z[layer].device)
        return self._replaced_z[layer]

    def head_changes(
        self,
        layer: int,
        heads: Sequence[int],
        z: Float[Tensor, "unit row kept head d_head"],
        *,
        at_answer: bool = False,
    ) -> Float[Tensor, "head unit row kept d_model"]:
        """By how much the writes of some heads of a block differ from their replacements.

        Args:
            layer: The block.
            heads: Which heads.
            z: Their values.
            at_answer: Whether `z` holds the answer position alone.
        """
        chosen = torch.tensor(list(heads), device=z.device)
        replaced = self.replaced_z(layer)[None, :, :, chosen]
        if at_answer:
            replaced = self.at_answer(replaced)
        w_o = self.model.w_o(layer)[chosen]
        return einsum(z - replaced, w_o, "unit row pos head d_head, head d_head d -> head unit row pos d")
