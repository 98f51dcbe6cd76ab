"""The block in which single heads are replaced: what one head changes is added, not computed anew.

A head's write is linear in its values, and so is everything up to the MLP's activation but for the length that the
norm divides by. With s the stream before the norm on the clean run, d the change of the head's values, W its output
matrix and M the norm's gain (and centring) times the MLP's first matrix,

    norm(s + d W) M' + b = (s M + d (W M)) / length(s + d W) + b,

where s M and W M are computed once for all heads and prompts: d_head instead of d_model operations a token and output.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitkit.models.affine import Affine
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.offload import weight_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Entry:
    """One matrix of the MLP behind its norm: of the clean stream, of every head's write, and the constant."""

    clean: Float[Tensor, "place width"]
    of_heads: Float[Tensor, "head d_head width"]
    constant: Float[Tensor, " width"] | None


class HeadSource:
    """The clean run of one block up to its MLP, to which changes of single heads are added.

    Args:
        model: The model; float32, for in fewer bits the sums above would round more than the block itself does.
        layer: The block.
        hidden: Residual stream before it.
        z: Its clean head values.
    """

    def __init__(
        self,
        model: HookedModel,
        layer: int,
        hidden: Float[Tensor, "row pos d_model"],
        z: Float[Tensor, "row pos head d_head"],
    ) -> None:
        self.family = model.family
        self.block = model.family.blocks(model.raw)[layer]
        self.norm = model.family.mlp_norm(self.block)
        self.shape = hidden.shape
        written = self.family.out_proj(self.block)(rearrange(z, "r p h d -> r p (h d)"))
        self.stream = (hidden + written).flatten(0, 1)
        self.w_o = model.w_o(layer)
        self.entries = [self._entry(affine) for affine in self.family.mlp_entries(self.block)]

    def _entry(self, affine: Affine) -> _Entry:
        matrix = weight_of(self.norm)[:, None] * affine.weight
        constant = affine.bias
        if isinstance(self.norm, nn.LayerNorm):
            matrix = matrix - matrix.mean(0)
            shift = weight_of(self.norm, "bias") @ affine.weight
            constant = shift if constant is None else constant + shift
        return _Entry(clean=self.stream @ matrix, of_heads=self.w_o @ matrix, constant=constant)

    def run(
        self, change: Float[Tensor, "unit row pos d_head"], heads: Int[Tensor, " unit"]
    ) -> Float[Tensor, "unit_row pos d_model"]:
        """The stream behind the block when one head's values are changed, in a run of its own for each.

        Args:
            change: New values minus clean ones.
            heads: Which head each run changes.
        """
        d = change.flatten(1, 2)
        stream = torch.baddbmm(self.stream.expand(len(heads), *self.stream.shape), d, self.w_o[heads])
        mid, scale = self._normalised(stream)
        inner = tuple(_scaled(entry, d, heads, scale) for entry in self.entries)
        shape = (len(heads) * self.shape[0], self.shape[1], -1)
        mid = (stream if self.family.pre_norm else mid).view(shape)
        return self.family.close(self.block, mid, self.family.mlp_exit(self.block, tuple(x.view(shape) for x in inner)))

    def _normalised(
        self, stream: Float[Tensor, "unit place d_model"]
    ) -> tuple[Float[Tensor, "unit place d_model"], Float[Tensor, "unit place 1"]]:
        """The norm's output (of LayerNorm; RMSNorm's is not needed), and one over what it divides by."""
        if isinstance(self.norm, nn.LayerNorm):
            weight, bias = weight_of(self.norm), weight_of(self.norm, "bias")
            out, _, scale = torch.native_layer_norm(stream, weight.shape, weight, bias, self.norm.eps)
            return out, scale
        square = torch.linalg.vector_norm(stream, dim=-1, keepdim=True).square_().div_(stream.shape[-1])
        return stream, square.add_(self.norm.variance_epsilon).rsqrt_()


def _scaled(
    entry: _Entry,
    d: Float[Tensor, "unit place d_head"],
    heads: Int[Tensor, " unit"],
    scale: Float[Tensor, "unit place 1"],
) -> Float[Tensor, "unit place width"]:
    inner = torch.baddbmm(entry.clean.expand(len(heads), *entry.clean.shape), d, entry.of_heads[heads]).mul_(scale)
    return inner if entry.constant is None else inner.add_(entry.constant)
