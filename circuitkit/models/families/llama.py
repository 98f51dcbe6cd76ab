"""Llama and models saved as Llama (SmolLM2, Minitron): pre-RMSNorm decoders with RoPE and grouped queries."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from jaxtyping import Float
from torch import Tensor, nn

from circuitkit.models.family import Family, Sizes

if TYPE_CHECKING:
    import transformers


class LlamaFamily(Family):
    """`LlamaForCausalLM`."""

    name = "llama"
    is_causal = True
    pre_norm = True
    blocks_path = "model.layers"
    attention_path = "self_attn"
    out_proj_path = "self_attn.o_proj"
    mlp_path = "mlp"
    forward_kwargs: ClassVar = {"use_cache": False}
    harmless_extras = r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"

    def attention_norm(self, block: nn.Module, x: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """The attention reads `input_layernorm(x)`."""
        return block.get_submodule("input_layernorm")(x)

    def mid(
        self, block: nn.Module, x: Float[Tensor, "row pos d_model"], attn_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Pre-LN: an addition."""
        return x + attn_out

    def mlp_out(self, block: nn.Module, mid: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """The MLP reads `post_attention_layernorm(mid)`."""
        return block.get_submodule("mlp")(block.get_submodule("post_attention_layernorm")(mid))

    def close(
        self, block: nn.Module, mid: Float[Tensor, "row pos d_model"], mlp_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Pre-LN: an addition."""
        return mid + mlp_out

    def final_norm(self, raw: nn.Module, resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """The last RMSNorm."""
        return raw.get_submodule("model.norm")(resid)

    def head(self, raw: nn.Module, hidden: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        """The unembedding."""
        return raw.get_submodule("lm_head")(hidden)

    def sizes(self, config: "transformers.PreTrainedConfig") -> Sizes:
        """Keys and values may have fewer heads, and a head need not be d_model / n_heads wide."""
        c = cast(Any, config)
        return replace(super().sizes(config), n_kv_heads=c.num_key_value_heads, d_head=c.head_dim)

    def d_mlp(self, config: "transformers.PreTrainedConfig") -> int:
        """Width of the gated product."""
        return cast(Any, config).intermediate_size
