"""BERT: a post-LN encoder whose masked-LM head reads the last block directly."""

from typing import TYPE_CHECKING, Any, ClassVar, cast

from jaxtyping import Float
from torch import Tensor, nn

from circuitkit.models.family import Family

if TYPE_CHECKING:
    import transformers


class BertFamily(Family):
    """`BertForMaskedLM`.

    `BertAttention` also owns the residual addition and the LayerNorm, so the attention that may be skipped is
    the inner `BertSelfAttention`, which returns z itself.
    """

    name = "bert"
    is_causal = False
    pre_norm = False
    blocks_path = "bert.encoder.layer"
    attention_path = "attention.self"
    out_proj_path = "attention.output.dense"
    mlp_path = "output.dense"
    forward_kwargs: ClassVar = {}
    harmless_extras = r"(bert\.)?(pooler\..*|embeddings\.position_ids)|cls\.seq_relationship\..*"

    def attention_to_out(
        self, block: nn.Module, output: Float[Tensor, "row pos width"]
    ) -> Float[Tensor, "row pos d_model"]:
        """The projection follows outside the attention module."""
        return self.out_proj(block)(output)

    def mid(
        self, block: nn.Module, x: Float[Tensor, "row pos d_model"], attn_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Post-LN: an addition, then the attention's LayerNorm."""
        return block.get_submodule("attention.output.LayerNorm")(attn_out + x)

    def mlp_out(self, block: nn.Module, mid: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """The MLP reads the stream itself."""
        return block.get_submodule("output.dense")(block.get_submodule("intermediate")(mid))

    def close(
        self, block: nn.Module, mid: Float[Tensor, "row pos d_model"], mlp_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Post-LN: an addition, then the output's LayerNorm."""
        return block.get_submodule("output.LayerNorm")(mlp_out + mid)

    def head(self, raw: nn.Module, hidden: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        """Dense, activation, LayerNorm, unembedding."""
        return raw.get_submodule("cls")(hidden)

    def d_mlp(self, config: "transformers.PreTrainedConfig") -> int:
        """Width between the MLP's two matrices."""
        return cast(Any, config).intermediate_size

    def refusal(self, config: "transformers.PreTrainedConfig") -> str | None:
        """A BERT decoder has a causal mask, which this family does not describe."""
        return "is a BERT decoder (is_decoder)" if cast(Any, config).is_decoder else None
