"""BERT for transformer-lens 4.3, with patterns that can be edited."""

from typing import Any, cast

from torch import nn
from transformer_lens.model_bridge.architecture_adapter import ArchitectureAdapter
from transformer_lens.model_bridge.generalized_components import BlockBridge

from circuitkit.models.encoder_attention import BertAttentionBridge, Projections


def make_bert_editable(adapter: ArchitectureAdapter) -> None:
    """Change the stock adapter, before it is applied, so that edits of scores and pattern take effect.

    Two aliases change as well: stock `hook_attn_out` lies behind the LayerNorm, and stock `hook_resid_mid` in
    front of it.

    Args:
        adapter: A fresh `BertArchitectureAdapter`; the one instance is changed, the class is not.
    """
    blocks = cast(BlockBridge, cast(dict[str, Any], adapter.component_mapping)["blocks"])
    blocks.submodules["attn"] = BertAttentionBridge("attention", adapter.cfg, _split, "output.dense")
    blocks.hook_aliases = {
        **blocks.hook_aliases,
        "hook_resid_mid": "ln1.hook_out",
        "hook_attn_out": "attn.o.hook_out",
    }
    adapter.supports_causal_loss = False


def _split(attention: nn.Module) -> Projections:
    inner = attention.get_submodule("self")
    return inner.get_submodule("query"), inner.get_submodule("key"), inner.get_submodule("value")
