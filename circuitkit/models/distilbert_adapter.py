"""DistilBERT for transformer-lens 4.3, which has no adapter of its own for it."""

from typing import Any

from torch import nn
from transformer_lens.model_bridge.architecture_adapter import ArchitectureAdapter
from transformer_lens.model_bridge.generalized_components import (
    BlockBridge,
    EmbeddingBridge,
    LinearBridge,
    MLPBridge,
    NormalizationBridge,
    PosEmbedBridge,
    UnembeddingBridge,
)

from circuitkit.models.encoder_attention import EncoderAttentionBridge, Projections, head_conversions


class DistilBertAdapter(ArchitectureAdapter):
    """Maps `DistilBertForMaskedLM`; hooks are named and placed as in BERT."""

    supports_generation = False
    supports_causal_loss = False

    def __init__(self, cfg: Any) -> None:  # noqa: ANN401
        super().__init__(cfg)
        config: Any = self.cfg
        config.normalization_type, config.positional_embedding_type = "LN", "standard"
        config.final_rms = config.gated_mlp = config.attn_only = False
        config.attention_dir = "bidirectional"
        # Written into the Hugging Face module, absent from its configuration.
        config.eps = 1e-12
        # Folding assumes that a norm precedes what it is folded into; here it follows.
        self.supports_fold_ln = False
        self.weight_processing_conversions = head_conversions(config.n_heads)
        self.component_mapping = {
            "embed": EmbeddingBridge(name="distilbert.embeddings.word_embeddings"),
            "pos_embed": PosEmbedBridge(name="distilbert.embeddings.position_embeddings"),
            "embed_ln": self._norm("distilbert.embeddings.LayerNorm"),
            "blocks": self._blocks(),
            "mlm_head": LinearBridge(name="vocab_transform"),
            "ln_final": self._norm("vocab_layer_norm"),
            "unembed": UnembeddingBridge(name="vocab_projector"),
        }

    def prepare_model(self, hf_model: Any) -> None:  # noqa: ANN401
        """Set what transformer-lens does not read from this configuration (it would assume 4 * d_model)."""
        config: Any = self.cfg
        config.d_mlp = hf_model.config.hidden_dim
        config.act_fn = hf_model.config.activation

    def _blocks(self) -> BlockBridge:
        return BlockBridge(
            name="distilbert.transformer.layer",
            # What enters the second norm already holds the MLP's write; the middle is behind the first.
            hook_alias_overrides={"hook_resid_mid": "ln1.hook_out"},
            mlp_reads_resid_directly=True,
            submodules={
                "ln1": self._norm("sa_layer_norm"),
                "ln2": self._norm("output_layer_norm"),
                "attn": EncoderAttentionBridge("attention", self.cfg, _split, "out_lin"),
                "mlp": MLPBridge(
                    name="ffn",
                    config=self.cfg,
                    submodules={"in": LinearBridge(name="lin1"), "out": LinearBridge(name="lin2")},
                ),
            },
        )

    def _norm(self, name: str) -> NormalizationBridge:
        return NormalizationBridge(name=name, config=self.cfg, use_native_layernorm_autograd=True)


def _split(attention: nn.Module) -> Projections:
    return (
        attention.get_submodule("q_lin"),
        attention.get_submodule("k_lin"),
        attention.get_submodule("v_lin"),
    )
