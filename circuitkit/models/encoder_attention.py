"""Encoder attention for transformer-lens 4.3 whose scores and pattern can be edited.

Its stock BERT adapter runs Hugging Face's own attention and throws edits of the pattern away; here
transformer-lens computes the attention itself from the wrapped projections. Three private methods of its
`JointQKVAttentionBridge` are overridden: that is why the version is pinned, and why `tests/models/test_bridge.py`
checks that they are still there.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformer_lens.conversion_utils.conversion_steps import RearrangeTensorConversion
from transformer_lens.conversion_utils.param_processing_conversion import ParamProcessingConversion
from transformer_lens.model_bridge.generalized_components import JointQKVAttentionBridge, LinearBridge

Projections = tuple[nn.Module, nn.Module, nn.Module]


class EncoderAttentionBridge(JointQKVAttentionBridge):
    """Bidirectional attention, computed by transformer-lens from Hugging Face's q, k and v projections.

    Args:
        name: Name of the attention module in its block.
        config: The bridge's configuration.
        split: Attention module -> its q, k and v projections, which are wrapped, not copied.
        out: Name of the output projection in the attention module.
    """

    def __init__(self, name: str, config: Any, split: Callable[[nn.Module], Projections], out: str) -> None:  # noqa: ANN401
        super().__init__(name=name, config=config, split_qkv_matrix=split, submodules={"o": LinearBridge(name=out)})
        # Without padding there is no mask, and no mask must not come to mean causal.
        self.is_causal = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Take the mask by position too, as `BertLayer` passes it; transformer-lens reads the keyword."""
        if len(args) > 1:
            kwargs["attention_mask"] = args[1]
            args = args[:1]
        # Past nn.Module.__setattr__ and the bridge's own, which forward names to the wrapped module.
        self.__dict__["_block_input"] = kwargs.get("hidden_states", args[0] if args else None)
        try:
            return super().forward(*args, **kwargs)
        finally:
            self.__dict__["_block_input"] = None

    def _apply_attn_dropout(self, attn_weights: Tensor) -> Tensor:
        """Hugging Face's encoders call it `dropout`; transformer-lens looks for `attn_dropout`."""
        return dropout_of(self.original_component)(attn_weights)


class BertAttentionBridge(EncoderAttentionBridge):
    """`BertAttention` owns the residual addition and the LayerNorm too, so it ends with its own `output`."""

    def _apply_output_projection(self, attn_output: Tensor) -> Tensor:
        return self._output()(attn_output, self.__dict__["_block_input"])

    def _compute_per_head_result(self, z_4d: Tensor, n_heads: int, d_head: int) -> Tensor:
        """The path of `set_use_attn_result(True)`."""
        output = self._output()
        summed = super()._compute_per_head_result(z_4d, n_heads, d_head)
        dropped = output.get_submodule("dropout")(summed)
        return output.get_submodule("LayerNorm")(dropped + self.__dict__["_block_input"])

    def _output(self) -> nn.Module:
        return _module(self.original_component).get_submodule("output")


def dropout_of(attention: nn.Module | None) -> nn.Module:
    """The dropout on the pattern: `dropout`, in BERT `self.dropout`."""
    module = _module(attention)
    return module.get_submodule("dropout" if hasattr(module, "dropout") else "self.dropout")


def head_conversions(n_heads: int) -> dict[str, ParamProcessingConversion | str]:
    """How an encoder's `nn.Linear` weights split into heads."""

    def rule(pattern: str) -> ParamProcessingConversion:
        return ParamProcessingConversion(tensor_conversion=RearrangeTensorConversion(pattern, h=n_heads))

    weights = {f"blocks.{{i}}.attn.{x}.weight": rule("(h d_head) d_model -> h d_model d_head") for x in "qkv"}
    biases = {f"blocks.{{i}}.attn.{x}.bias": rule("(h d_head) -> h d_head") for x in "qkv"}
    out = {"blocks.{i}.attn.o.weight": rule("d_model (h d_head) -> h d_head d_model")}
    return {**weights, **biases, **out}


def _module(component: nn.Module | None) -> nn.Module:
    assert component is not None, "the bridge sets the wrapped module before any forward"
    return component
