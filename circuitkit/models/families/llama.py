"""Llama and models saved as Llama (SmolLM2, Minitron): pre-RMSNorm decoders with RoPE and grouped queries."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitkit.models.activation import activate
from circuitkit.models.affine import Affine, affine_of
from circuitkit.models.family import Family, Sizes
from circuitkit.models.projections import Projections
from circuitkit.models.rms_norm import rms_norm
from circuitkit.models.rotary import Rotary

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
    final_norm_path = "model.norm"
    forward_kwargs: ClassVar = {"use_cache": False}
    harmless_extras = r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"

    def embed(self, raw: nn.Module, ids: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d_model"]:
        """Tokens only."""
        return raw.get_submodule("model.embed_tokens")(ids)

    def attention_norm(self, block: nn.Module, x: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """The attention reads `input_layernorm(x)`."""
        return rms_norm(block.get_submodule("input_layernorm"), x)

    def queries(self, block: nn.Module, read: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos width"]:
        """`q_proj`."""
        return block.get_submodule("self_attn.q_proj")(read)

    def keys_values(
        self, block: nn.Module, read: Float[Tensor, "row pos d_model"]
    ) -> tuple[Float[Tensor, "row pos kv_width"], Float[Tensor, "row pos kv_width"]]:
        """`k_proj` and `v_proj`; several query heads share one of each."""
        return block.get_submodule("self_attn.k_proj")(read), block.get_submodule("self_attn.v_proj")(read)

    def projections(self, block: nn.Module) -> Projections:
        """`q_proj`, `k_proj` and `v_proj`."""
        return Projections(
            q=affine_of(block.get_submodule("self_attn.q_proj")),
            k=affine_of(block.get_submodule("self_attn.k_proj")),
            v=affine_of(block.get_submodule("self_attn.v_proj")),
        )

    def rotary(self, raw: nn.Module, ids: Int[Tensor, "row pos"]) -> Rotary:
        """RoPE, with whatever scaling the configuration asks for; the same positions in every row."""
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        like = torch.empty(0, dtype=cast(Any, raw).dtype, device=ids.device)
        cos, sin = raw.get_submodule("model.rotary_emb")(like, positions)
        return Rotary(cos=rearrange(cos, "r p d -> r p 1 d"), sin=rearrange(sin, "r p d -> r p 1 d"))

    def mid(
        self, block: nn.Module, x: Float[Tensor, "row pos d_model"], attn_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Pre-LN: an addition."""
        return attn_out.add_(x)

    def mlp_norm(self, block: nn.Module) -> nn.Module:
        """`post_attention_layernorm`."""
        return block.get_submodule("post_attention_layernorm")

    def mlp_entries(self, block: nn.Module) -> tuple[Affine, ...]:
        """`gate_proj` and `up_proj`."""
        return affine_of(block.get_submodule("mlp.gate_proj")), affine_of(block.get_submodule("mlp.up_proj"))

    def mlp_exit(
        self, block: nn.Module, inner: tuple[Float[Tensor, "*row pos d_mlp"], ...]
    ) -> Float[Tensor, "*row pos d_model"]:
        """The gated product and `down_proj`."""
        gate, up = inner
        return block.get_submodule("mlp.down_proj")(activate(block.get_submodule("mlp.act_fn"), gate).mul_(up))

    def mlp_out(self, block: nn.Module, mid: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """The MLP reads `post_attention_layernorm(mid)`."""
        read = rms_norm(self.mlp_norm(block), mid)
        return self.mlp_exit(
            block, (block.get_submodule("mlp.gate_proj")(read), block.get_submodule("mlp.up_proj")(read))
        )

    def close(
        self, block: nn.Module, mid: Float[Tensor, "row pos d_model"], mlp_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Pre-LN: an addition."""
        return mlp_out.add_(mid)

    def final_norm(self, raw: nn.Module, resid: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        """The last RMSNorm."""
        return raw.get_submodule("model.norm")(resid)

    def unembedding(self, raw: nn.Module) -> nn.Linear:
        """`lm_head`."""
        return cast(nn.Linear, raw.get_submodule("lm_head"))

    def sizes(self, config: "transformers.PreTrainedConfig") -> Sizes:
        """Keys and values may have fewer heads, and a head need not be d_model / n_heads wide."""
        c = cast(Any, config)
        return replace(super().sizes(config), n_kv_heads=c.num_key_value_heads, d_head=c.head_dim)

    def d_mlp(self, config: "transformers.PreTrainedConfig") -> int:
        """Width of the gated product."""
        return cast(Any, config).intermediate_size
