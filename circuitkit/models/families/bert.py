"""BERT: a post-LN encoder whose masked-LM head reads the last block directly."""

from typing import TYPE_CHECKING, Any, ClassVar, cast

from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitkit.models.activation import activate
from circuitkit.models.affine import Affine, affine_of
from circuitkit.models.family import Family
from circuitkit.models.projections import Projections

if TYPE_CHECKING:
    import transformers


class BertFamily(Family):
    """`BertForMaskedLM`.

    `BertAttention` also owns the residual addition and the LayerNorm; the attention is the inner
    `BertSelfAttention`, which returns z itself.
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

    def embed(self, raw: nn.Module, ids: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d_model"]:
        """Tokens, positions and the first segment, normalised."""
        return raw.get_submodule("bert.embeddings")(input_ids=ids)

    def queries(self, block: nn.Module, read: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos width"]:
        """`query`."""
        return block.get_submodule("attention.self.query")(read)

    def keys_values(
        self, block: nn.Module, read: Float[Tensor, "row pos d_model"]
    ) -> tuple[Float[Tensor, "row pos kv_width"], Float[Tensor, "row pos kv_width"]]:
        """`key` and `value`."""
        return block.get_submodule("attention.self.key")(read), block.get_submodule("attention.self.value")(read)

    def projections(self, block: nn.Module) -> Projections:
        """`query`, `key` and `value`."""
        return Projections(
            q=affine_of(block.get_submodule("attention.self.query")),
            k=affine_of(block.get_submodule("attention.self.key")),
            v=affine_of(block.get_submodule("attention.self.value")),
        )

    def mid(
        self, block: nn.Module, x: Float[Tensor, "row pos d_model"], attn_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Post-LN: an addition, then the attention's LayerNorm."""
        return block.get_submodule("attention.output.LayerNorm")(attn_out.add_(x))

    def mlp_norm(self, block: nn.Module) -> nn.Module:
        """The attention's LayerNorm, which is also what the residual stream goes on with."""
        return block.get_submodule("attention.output.LayerNorm")

    def mlp_entries(self, block: nn.Module) -> tuple[Affine, ...]:
        """`intermediate.dense`."""
        return (affine_of(block.get_submodule("intermediate.dense")),)

    def mlp_exit(
        self, block: nn.Module, inner: tuple[Float[Tensor, "*row pos d_mlp"], ...]
    ) -> Float[Tensor, "*row pos d_model"]:
        """Activation and `output.dense`."""
        activated = activate(cast(Any, block.get_submodule("intermediate")).intermediate_act_fn, inner[0])
        return block.get_submodule("output.dense")(activated)

    def mlp_out(self, block: nn.Module, mid: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """The MLP reads the stream itself."""
        return self.mlp_exit(block, (block.get_submodule("intermediate.dense")(mid),))

    def close(
        self, block: nn.Module, mid: Float[Tensor, "row pos d_model"], mlp_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Post-LN: an addition, then the output's LayerNorm."""
        return block.get_submodule("output.LayerNorm")(mlp_out.add_(mid))

    def transform(self, raw: nn.Module, hidden: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        """Dense, activation, LayerNorm."""
        return raw.get_submodule("cls.predictions.transform")(hidden)

    def unembedding(self, raw: nn.Module) -> nn.Linear:
        """The decoder."""
        return cast(nn.Linear, raw.get_submodule("cls.predictions.decoder"))

    def d_mlp(self, config: "transformers.PreTrainedConfig") -> int:
        """Width between the MLP's two matrices."""
        return cast(Any, config).intermediate_size

    def refusal(self, config: "transformers.PreTrainedConfig") -> str | None:
        """A BERT decoder has a causal mask, which this family does not describe."""
        return "is a BERT decoder (is_decoder)" if cast(Any, config).is_decoder else None
