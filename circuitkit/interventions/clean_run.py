"""One run with nothing replaced, of which everything is kept that replacements and replays start from."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from circuitkit.interventions.rows import Rows
from circuitkit.interventions.suffix_attention import SuffixAttention
from circuitkit.interventions.window import Suffix
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.offload import device_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CleanRun:
    """Activations by layer, and the attention that made them.

    Attributes:
        hidden: Residual stream before each block.
        z: Head values before the output projection.
        mlp: MLP outputs, output bias included.
        resid: Residual stream behind the last block.
        attention: To go on from here.
    """

    hidden: dict[int, Float[Tensor, "row pos d_model"]]
    z: dict[int, Float[Tensor, "row pos head d_head"]]
    mlp: dict[int, Float[Tensor, "row pos d_model"]]
    resid: Float[Tensor, "row pos d_model"]
    attention: SuffixAttention

    @property
    def streams(self) -> dict[int, Float[Tensor, "row pos d_model"]]:
        """Residual stream behind each block; at -1 what the first one reads."""
        return {layer - 1: stream for layer, stream in self.hidden.items()} | {len(self.hidden) - 1: self.resid}


@torch.no_grad()
def run_clean(model: HookedModel, rows: Rows) -> CleanRun:
    """Run the blocks from each family's own parts: what `HookedModel.capture` gives, in fewer passes over memory.

    Args:
        model: The model; its raw module must be in evaluation mode.
        rows: The prompts.
    """
    family = model.family
    hidden, z, mlp = dict[int, Tensor](), dict[int, Tensor](), dict[int, Tensor]()
    attention = SuffixAttention(model, rows, hidden)
    resid = family.embed(model.raw, rows.ids)
    for layer, block in enumerate(family.blocks(model.raw)):
        resid = hidden[layer] = resid.to(device_of(block))
        read = family.attention_norm(block, resid)
        z[layer] = attention.everywhere(layer, read, Suffix(start=0))
        mid = family.mid(block, resid, family.out_proj(block)(rearrange(z[layer], "r p h d -> r p (h d)")))
        mlp_out = family.mlp_out(block, mid)
        mlp[layer] = mlp_out.clone()
        resid = family.close(block, mid, mlp_out)
    return CleanRun(hidden=hidden, z=z, mlp=mlp, resid=resid, attention=attention)
