"""DistilBERT: BERT's post-LN encoder with half the layers, no segments and no pooler."""

from typing import TYPE_CHECKING, Any, ClassVar, cast

from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitkit.models.activation import activate
from circuitkit.models.affine import Affine, affine_of
from circuitkit.models.family import Family
from circuitkit.models.projections import Projections

if TYPE_CHECKING:
    import transformers


class DistilBertFamily(Family):
    """`DistilBertForMaskedLM`."""

    name = "distilbert"
    is_causal = False
    pre_norm = False
    blocks_path = "distilbert.transformer.layer"
    attention_path = "attention"
    out_proj_path = "attention.out_lin"
    mlp_path = "ffn"
    forward_kwargs: ClassVar = {}
    harmless_extras = r"(distilbert\.)?embeddings\.position_ids"

    def embed(self, raw: nn.Module, ids: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d_model"]:
        """Tokens and positions, normalised."""
        return raw.get_submodule("distilbert.embeddings")(ids)

    def queries(self, block: nn.Module, read: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos width"]:
        """`q_lin`."""
        return block.get_submodule("attention.q_lin")(read)

    def keys_values(
        self, block: nn.Module, read: Float[Tensor, "row pos d_model"]
    ) -> tuple[Float[Tensor, "row pos kv_width"], Float[Tensor, "row pos kv_width"]]:
        """`k_lin` and `v_lin`."""
        return block.get_submodule("attention.k_lin")(read), block.get_submodule("attention.v_lin")(read)

    def projections(self, block: nn.Module) -> Projections:
        """`q_lin`, `k_lin` and `v_lin`."""
        return Projections(
            q=affine_of(block.get_submodule("attention.q_lin")),
            k=affine_of(block.get_submodule("attention.k_lin")),
            v=affine_of(block.get_submodule("attention.v_lin")),
        )

    def mid(
        self, block: nn.Module, x: Float[Tensor, "row pos d_model"], attn_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Post-LN: an addition, then `sa_layer_norm`."""
        return block.get_submodule("sa_layer_norm")(attn_out.add_(x))

    def mlp_norm(self, block: nn.Module) -> nn.Module:
        """`sa_layer_norm`, which is also what the residual stream goes on with."""
        return block.get_submodule("sa_layer_norm")

    def mlp_entries(self, block: nn.Module) -> tuple[Affine, ...]:
        """`lin1`."""
        return (affine_of(block.get_submodule("ffn.lin1")),)

    def mlp_exit(
        self, block: nn.Module, inner: tuple[Float[Tensor, "*row pos d_mlp"], ...]
    ) -> Float[Tensor, "*row pos d_model"]:
        """Activation and `lin2`."""
        return block.get_submodule("ffn.lin2")(activate(cast(Any, block.get_submodule("ffn")).activation, inner[0]))

    def mlp_out(self, block: nn.Module, mid: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """The MLP reads the stream itself."""
        return self.mlp_exit(block, (block.get_submodule("ffn.lin1")(mid),))

    def close(
        self, block: nn.Module, mid: Float[Tensor, "row pos d_model"], mlp_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """Post-LN: an addition, then `output_layer_norm`."""
        return block.get_submodule("output_layer_norm")(mlp_out.add_(mid))

    def transform(self, raw: nn.Module, hidden: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        """Dense, activation, LayerNorm."""
        activated = cast(Any, raw).activation(raw.get_submodule("vocab_transform")(hidden))
        return raw.get_submodule("vocab_layer_norm")(activated)

    def unembedding(self, raw: nn.Module) -> nn.Linear:
        """The projector."""
        return cast(nn.Linear, raw.get_submodule("vocab_projector"))

    def d_mlp(self, config: "transformers.PreTrainedConfig") -> int:
        """Width between the MLP's two matrices."""
        return cast(Any, config).hidden_dim
