"""The one wrapper through which every other layer talks to a language model."""

import copy
from collections.abc import Collection
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from circuitkit.core.component import Component, all_components
from circuitkit.core.errors import OptionError
from circuitkit.models.capture import Point, capture
from circuitkit.models.family import Family
from circuitkit.models.info import ModelInfo
from circuitkit.models.offload import device_of
from circuitkit.models.origin import Origin
from circuitkit.models.weights import count_parameters, weights_digest

if TYPE_CHECKING:
    import transformers
    from transformer_lens.model_bridge import TransformerBridge


class HookedModel:
    """A Hugging Face language model with its layout, its activations and its tokenizer at hand.

    The raw model does all the work. Putting it here changes two things about it: it is in eval mode, and its
    attention is sdpa. Attention patterns come from a clone with eager attention that shares its weights.

    Attributes:
        raw: The Hugging Face model.
        tokenizer: Its tokenizer.
        info: Sizes, name and digest.
        family: Layout of `raw`.
        is_causal: False for masked language models.
        inheritance: Teacher and layers that it was initialised from; None if unknown.
        stored_dtype: In what precision the weights were before they became float32 numbers; None where they did not
            (see `circuitkit.models.precision`).
        components: Every head, then every MLP: the row order of all per-component results.
    """

    def __init__(
        self,
        *,
        raw: "transformers.PreTrainedModel",
        tokenizer: "transformers.PreTrainedTokenizerBase",
        family: Family,
        name: str,
        revision: str | None = None,
        inheritance: Origin | None = None,
        stored_dtype: torch.dtype | None = None,
    ) -> None:
        raw.eval()
        raw.set_attn_implementation("sdpa")
        self.raw = raw
        self.tokenizer = tokenizer
        self.family = family
        self.is_causal = family.is_causal
        self.inheritance = inheritance
        self.stored_dtype = stored_dtype
        sizes = family.sizes(raw.config)
        self.info = ModelInfo(
            **asdict(sizes),
            name=name,
            family=family.name,
            n_params=count_parameters(raw),
            weights_sha256=weights_digest(raw),
            revision=revision,
        )
        self.components: tuple[Component, ...] = all_components(sizes.n_layers, sizes.n_heads)

    @property
    def device(self) -> torch.device:
        """Where the weights lie, or, where they are spread over devices, the first of them."""
        return device_of(self.raw.get_input_embeddings())

    @property
    def dtype(self) -> torch.dtype:
        """In what precision they are kept."""
        return self.raw.dtype

    @torch.no_grad()
    def answer_logits(
        self, ids: Int[Tensor, "row pos"], mask: Bool[Tensor, "row pos"], positions: Int[Tensor, " row"]
    ) -> Float[Tensor, "row vocab"]:
        """Logits at one position of every row; only those positions are unembedded.

        Args:
            ids: Tokens, on any device.
            mask: True at real tokens; rows are padded on the right.
            positions: The position wanted in each row.
        """
        hidden = self.family.hidden(self.raw, ids.to(self.device), mask.to(self.device))
        rows = torch.arange(len(ids), device=self.device)
        return self.family.head(self.raw, hidden[rows, positions.to(self.device)])

    def capture(
        self,
        ids: Int[Tensor, "row pos"],
        mask: Bool[Tensor, "row pos"],
        points: Collection[Point],
        layers: Collection[int] | None = None,
    ) -> dict[Point, dict[int, Float[Tensor, "row ..."]]]:
        """Activations at the asked points, on the model's device, without gradients.

        Args:
            ids: Tokens, on any device.
            mask: True at real tokens; rows are padded on the right.
            points: Any of `resid_pre`, `resid_post` [row, pos, d_model]: the stream before and after a block;
                `z` [row, pos, head, d_head]: a head's value mix before the output projection; `attn_out`
                [row, pos, d_model]: the sum of all heads' writes plus the output bias; `mlp_out`
                [row, pos, d_model]: the MLP's write, bias included; `pattern` [row, head, query, key]. Asking
                for `pattern` runs the eager clone, whose other activations differ from sdpa's by rounding.
            layers: Which blocks; None means all.

        Returns:
            point -> layer -> activation. Positions where `mask` is False hold values without meaning.

        Raises:
            OptionError: A layer does not exist.
        """
        wanted = range(self.info.n_layers) if layers is None else layers
        if beyond := [layer for layer in wanted if not 0 <= layer < self.info.n_layers]:
            raise OptionError(f"Layer {beyond[0]} asked of {self.info.name!r}; wanted 0 to {self.info.n_layers - 1}.")
        return capture(
            self._eager if "pattern" in points else self.raw,
            self.family,
            ids.to(self.device),
            mask.to(self.device),
            points=points,
            layers=wanted,
            n_heads=self.info.n_heads,
        )

    def w_o(self, layer: int) -> Float[Tensor, "head d_head d_model"]:
        """Each head's output matrix: head h writes `z_h @ w_o[h]`; the bias belongs to no head."""
        return self.family.w_o(self.family.blocks(self.raw)[layer], self.info.n_heads)

    @cached_property
    def bridge(self) -> "TransformerBridge":
        """A transformer-lens view of the same weights, for looking around; importing it takes seconds.

        Always pass tensors and a mask: `model.bridge(ids, attention_mask=mask)`. Hook names start with
        `blocks.{layer}.`: `hook_resid_pre`, `hook_resid_post`, `attn.hook_z`, `attn.hook_pattern`,
        `attn.o.hook_out` and `mlp.out.hook_out` are tested against hand-placed hooks.
        """
        from circuitkit.models.bridge import build_bridge

        return build_bridge(self.eager_clone(), self.info.name)

    def eager_clone(self) -> "transformers.PreTrainedModel":
        """A copy of the raw model's modules, with eager attention, that shares its weights."""
        shared = {id(tensor): tensor for tensor in (*self.raw.parameters(), *self.raw.buffers())}
        clone = copy.deepcopy(self.raw, memo=cast(dict[int, Any], shared))
        clone.set_attn_implementation("eager")
        return clone

    @cached_property
    def _eager(self) -> "transformers.PreTrainedModel":
        return self.eager_clone()

    def with_random_weights(self, seed: int) -> "HookedModel":
        """The same configuration, freshly initialised: the control that has learned nothing.

        The draws are made on the CPU from a generator of their own, so they are the same on every device and
        leave the global random state as it was.
        """
        config = copy.deepcopy(self.raw.config)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            fresh = type(self.raw)(config)
        cast(nn.Module, fresh).to(dtype=self.dtype, device=self.device)
        return HookedModel(
            raw=fresh,
            tokenizer=self.tokenizer,
            family=self.family,
            name=f"{self.info.name} (random weights, seed {seed})",
        )

    def __repr__(self) -> str:
        i = self.info
        return (
            f"HookedModel({i.name!r}: {i.family}, {i.n_layers} layers of {i.n_heads} heads, "
            f"d_model {i.d_model}, {i.n_params:,} parameters, {self.dtype} on {self.device})"
        )
