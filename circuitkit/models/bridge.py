"""A transformer-lens view of a loaded model; only this module and the adapters import transformer_lens."""

import torch
from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import PreTrainedModel

from circuitkit.core.errors import ModelError
from circuitkit.models.bert_adapter import make_bert_editable
from circuitkit.models.distilbert_adapter import DistilBertAdapter

# Relative to the largest logit. SmolLM2 differs by 4e-6 in float32 and 9e-2 in bfloat16, a configuration
# that is misread by 5e-1.
_TOLERANCE = {torch.float16: 5e-2, torch.bfloat16: 2e-1}


def build_bridge(clone: PreTrainedModel, name: str) -> TransformerBridge:
    """Wrap a model for transformer-lens.

    Args:
        clone: A copy with eager attention; wrapping replaces its submodules, so it has no other use afterwards.
        name: What the model is called, for messages.

    Raises:
        ModelError: The bridge computes other logits than the model (some configurations, such as attention
            scaled by layer, are unknown to transformer-lens).
    """
    architecture = type(clone).__name__
    ArchitectureAdapterFactory.register_adapter("DistilBertForMaskedLM", DistilBertAdapter)
    ids = torch.arange(1, 9, device=clone.device).unsqueeze(0) % clone.config.vocab_size
    mask = torch.ones_like(ids)
    with torch.no_grad():
        wanted = clone(input_ids=ids, attention_mask=mask).logits
        bridge = build_bridge_from_module(
            clone,
            architecture,
            hf_config=clone.config,
            tokenizer=None,
            post_adapter_hook=make_bert_editable if architecture == "BertForMaskedLM" else None,
        )
        got = bridge(ids, attention_mask=mask)
    error = (got - wanted).abs().max().item() / max(1.0, wanted.abs().max().item())
    if not error < _TOLERANCE.get(clone.dtype, 1e-3):
        raise ModelError(
            f"transformer-lens computes other logits than {name!r} (relative difference {error:.1e}); wanted "
            "the same. It does not know this configuration: use `capture` instead of `bridge`."
        )
    return bridge
