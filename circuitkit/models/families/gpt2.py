"""GPT-2 and DistilGPT2: pre-LN decoders with learned positions and a joint QKV projection."""

from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitkit.models.activation import activate
from circuitkit.models.affine import Affine, affine_of
from circuitkit.models.family import Family
from circuitkit.models.offload import weight_of
from circuitkit.models.projections import Projections

if TYPE_CHECKING:
    import transformers


class GPT2Family(Family):
    """`GPT2LMHeadModel`."""

    name = "gpt2"
    is_causal = True
    pre_norm = True
    blocks_path = "transformer.h"
    attention_path = "attn"
    out_proj_path = "attn.c_proj"
    mlp_path = "mlp"
    final_norm_path = "transformer.ln_f"
    forward_kwargs: ClassVar = {"use_cache": False}
    harmless_extras = r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)"

    def embed(self, raw: nn.Module, ids: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d_model"]:
        """Tokens plus learned positions."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        return raw.get_submodule("transformer.wte")(ids) + raw.get_submodule("transformer.wpe")(positions)

    def attention_norm(self, block: nn.Module, x: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """The attention reads `ln_1(x)`."""
        return block.get_submodule("ln_1")(x)

    def queries(self, block: nn.Module, read: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos width"]:
        """The first third of the joint projection."""
        return _joint(block.get_submodule("attn.c_attn"), read, slice(None, read.shape[-1]))

    def keys_values(
        self, block: nn.Module, read: Float[Tensor, "row pos d_model"]
    ) -> tuple[Float[Tensor, "row pos kv_width"], Float[Tensor, "row pos kv_width"]]:
        """The other two thirds of the joint projection."""
        joint = _joint(block.get_submodule("attn.c_attn"), read, slice(read.shape[-1], None))
        keys, values = joint.chunk(2, dim=-1)
        return keys, values

    def projections(self, block: nn.Module) -> Projections:
        """The thirds of the joint projection."""
        joint = affine_of(block.get_submodule("attn.c_attn"), transposed=True)
        q, k, v = (joint.columns(i * joint.width // 3, (i + 1) * joint.width // 3) for i in range(3))
        return Projections(q=q, k=k, v=v)

    def mid(
        self, block: nn.Module, x: Float[Tensor, "row pos d_model"], attn_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Pre-LN: an addition."""
        return attn_out.add_(x)

    def mlp_norm(self, block: nn.Module) -> nn.Module:
        """`ln_2`."""
        return block.get_submodule("ln_2")

    def mlp_entries(self, block: nn.Module) -> tuple[Affine, ...]:
        """`c_fc`, kept [input, output]."""
        return (affine_of(block.get_submodule("mlp.c_fc"), transposed=True),)

    def mlp_exit(
        self, block: nn.Module, inner: tuple[Float[Tensor, "*row pos d_mlp"], ...]
    ) -> Float[Tensor, "*row pos d_model"]:
        """Activation and `c_proj`."""
        return block.get_submodule("mlp.c_proj")(activate(block.get_submodule("mlp.act"), inner[0]))

    def mlp_out(self, block: nn.Module, mid: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """The MLP reads `ln_2(mid)`."""
        return self.mlp_exit(block, (block.get_submodule("mlp.c_fc")(self.mlp_norm(block)(mid)),))

    def close(
        self, block: nn.Module, mid: Float[Tensor, "row pos d_model"], mlp_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Pre-LN: an addition."""
        return mlp_out.add_(mid)

    def w_o(self, block: nn.Module, n_heads: int) -> Float[Tensor, "head d_head d_model"]:
        """GPT-2 keeps `Conv1D` weights, [input, output]: transposed against `nn.Linear`."""
        weight = weight_of(self.out_proj(block)).detach()
        return rearrange(weight, "(head d_head) d_model -> head d_head d_model", head=n_heads)

    def final_norm(self, raw: nn.Module, resid: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        """`ln_f`."""
        return raw.get_submodule("transformer.ln_f")(resid)

    def unembedding(self, raw: nn.Module) -> nn.Linear:
        """`lm_head`."""
        return cast(nn.Linear, raw.get_submodule("lm_head"))

    def d_mlp(self, config: "transformers.PreTrainedConfig") -> int:
        """`n_inner`, or four times the width."""
        c = cast(Any, config)
        return c.n_inner if c.n_inner is not None else 4 * c.hidden_size

    def refusal(self, config: "transformers.PreTrainedConfig") -> str | None:
        """Cross-attention would be a third component of every block."""
        return "has cross-attention" if cast(Any, config).add_cross_attention else None


def _joint(projection: nn.Module, x: Float[Tensor, "row pos d_model"], part: slice) -> Float[Tensor, "row pos part"]:
    """Some of the columns of a `Conv1D`."""
    weight, bias = weight_of(projection), weight_of(projection, "bias")
    return torch.addmm(bias[part], x.flatten(0, 1), weight[:, part]).unflatten(0, x.shape[:2])
