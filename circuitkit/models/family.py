"""The structure that model families share: where a block keeps its attention, its MLP and its norms."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from circuitkit.models.affine import Affine
from circuitkit.models.offload import weight_of
from circuitkit.models.projections import Projections
from circuitkit.models.rotary import Rotary

if TYPE_CHECKING:
    import transformers


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes read from a configuration; see `ModelInfo` for what each one means."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    max_length: int
    vocab_size: int


class Family(ABC):
    """How one family of Hugging Face models is laid out; stateless, one instance serves every model.

    Paths are submodule names: `blocks_path` from the model, the others from a block.

    Attributes:
        name: Name of the family.
        is_causal: False for masked language models.
        pre_norm: True where a block reads the stream through a norm and only adds to it; False where the norm
            follows the addition (post-LN), so that residuals are not sums of contributions.
        blocks_path: The list of blocks.
        attention_path: The attention module; its forward returns `(output, pattern or None)`.
        out_proj_path: The output projection. Its input is z of all heads side by side; its output is the
            attention's contribution, bias included.
        mlp_path: The module whose output is the MLP's contribution, bias included.
        final_norm_path: The norm between the last block and the language-model head; None where there is none.
        forward_kwargs: Arguments for every forward pass. A cache must never be built: under sdpa a stale one
            is used without complaint.
        harmless_extras: Regular expression (full match) of checkpoint entries that this model does not have
            and that do not change what it computes.
    """

    name: ClassVar[str]
    is_causal: ClassVar[bool]
    pre_norm: ClassVar[bool]
    blocks_path: ClassVar[str]
    attention_path: ClassVar[str]
    out_proj_path: ClassVar[str]
    mlp_path: ClassVar[str]
    final_norm_path: ClassVar[str | None] = None
    forward_kwargs: ClassVar[Mapping[str, bool]]
    harmless_extras: ClassVar[str]

    def blocks(self, raw: nn.Module) -> nn.ModuleList:
        """The transformer blocks, first to last."""
        return cast(nn.ModuleList, raw.get_submodule(self.blocks_path))

    def attention(self, block: nn.Module) -> nn.Module:
        """The attention module; its forward returns `(output, pattern or None)`."""
        return block.get_submodule(self.attention_path)

    def out_proj(self, block: nn.Module) -> nn.Module:
        """The projection from z, heads side by side, to the attention's contribution."""
        return block.get_submodule(self.out_proj_path)

    def mlp(self, block: nn.Module) -> nn.Module:
        """The module whose output is the MLP's contribution."""
        return block.get_submodule(self.mlp_path)

    def attention_norm(self, block: nn.Module, x: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """What the attention reads when the residual stream is `x`."""
        return x

    @abstractmethod
    def queries(self, block: nn.Module, read: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos width"]:
        """Queries of all heads side by side, before any rotation, from what the attention reads."""

    @abstractmethod
    def keys_values(
        self, block: nn.Module, read: Float[Tensor, "row pos d_model"]
    ) -> tuple[Float[Tensor, "row pos kv_width"], Float[Tensor, "row pos kv_width"]]:
        """Keys and values of all key-value heads side by side, keys before any rotation."""

    @abstractmethod
    def projections(self, block: nn.Module) -> Projections:
        """The maps to queries, keys and values, without any rotation."""

    def rotary(self, raw: nn.Module, ids: Int[Tensor, "row pos"]) -> Rotary | None:
        """How queries and keys are rotated at the positions of `ids`; None in families without rotation."""
        return None

    def scaling(self, block: nn.Module) -> float:
        """The factor of the attention scores."""
        return cast(Any, self.attention(block)).scaling

    @abstractmethod
    def mid(
        self, block: nn.Module, x: Float[Tensor, "row pos d_model"], attn_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """The residual stream between attention and MLP, from the block's input and the attention's contribution.

        The contribution is overwritten: in a sweep, fresh memory costs more than the addition.
        """

    @abstractmethod
    def mlp_norm(self, block: nn.Module) -> nn.Module:
        """The norm whose output the MLP reads."""

    @abstractmethod
    def mlp_entries(self, block: nn.Module) -> tuple[Affine, ...]:
        """What the MLP multiplies its normalised input by; two matrices where it is gated."""

    @abstractmethod
    def mlp_exit(
        self, block: nn.Module, inner: tuple[Float[Tensor, "*row pos d_mlp"], ...]
    ) -> Float[Tensor, "*row pos d_model"]:
        """The MLP's contribution from what its entries give, which is overwritten."""

    @abstractmethod
    def mlp_out(self, block: nn.Module, mid: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """The MLP's contribution when the stream before it is `mid`."""

    @abstractmethod
    def close(
        self, block: nn.Module, mid: Float[Tensor, "row pos d_model"], mlp_out: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos d_model"]:
        """The block's output, from the stream before the MLP and the MLP's contribution, which is overwritten."""

    def w_o(self, block: nn.Module, n_heads: int) -> Float[Tensor, "head d_head d_model"]:
        """Each head's output matrix: head h writes `z_h @ w_o[h]`; the bias belongs to no head."""
        weight = weight_of(self.out_proj(block)).detach()
        return rearrange(weight, "d_model (head d_head) -> head d_head d_model", head=n_heads)

    def out_bias(self, block: nn.Module) -> Float[Tensor, " d_model"] | None:
        """The output projection's bias, which belongs to no head; None where there is none."""
        bias = cast(Tensor | None, self.out_proj(block).bias)
        return None if bias is None else weight_of(self.out_proj(block), "bias").detach()

    @abstractmethod
    def embed(self, raw: nn.Module, ids: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d_model"]:
        """What the first block reads."""

    def hidden(
        self, raw: "transformers.PreTrainedModel", ids: Tensor, mask: Tensor
    ) -> Float[Tensor, "row pos d_model"]:
        """Run every block: what the language-model head reads (after the final norm, where there is one).

        Args:
            raw: Model, or a clone of it.
            ids: Tokens, [row, pos], on the model's device.
            mask: True at real tokens, [row, pos]; rows are padded on the right.
        """
        output = raw.base_model(input_ids=ids, attention_mask=mask.to(torch.long), **self.forward_kwargs)
        return output.last_hidden_state

    def final_norm(self, raw: nn.Module, resid: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        """The norm between the last block and the language-model head."""
        return resid

    def transform(self, raw: nn.Module, hidden: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        """What the language-model head does before the unembedding."""
        return hidden

    @abstractmethod
    def unembedding(self, raw: nn.Module) -> nn.Linear:
        """The last matrix: one row a token of the vocabulary."""

    def head(self, raw: nn.Module, hidden: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row vocab"]:
        """The language-model head, for what `hidden` returns."""
        return self.unembedding(raw)(self.transform(raw, hidden))

    def unembed(self, raw: nn.Module, resid: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row vocab"]:
        """Logits from the residual stream after the last block: final norm, then the language-model head."""
        return self.head(raw, self.final_norm(raw, resid))

    def unembed_tokens(
        self, raw: nn.Module, resid: Float[Tensor, "*unit row d_model"], tokens: Int[Tensor, "row token"]
    ) -> Float[Tensor, "*unit row token"]:
        """Logits of some tokens only: as many rows of the unembedding are used as there are tokens."""
        hidden = self.transform(raw, self.final_norm(raw, resid))
        matrix = self.unembedding(raw)
        weight, bias = weight_of(matrix), cast(Tensor | None, matrix.bias)
        hidden, tokens = hidden.to(weight.device), tokens.to(weight.device)
        logits = einsum(hidden, weight[tokens], "... row d, row token d -> ... row token")
        return logits if bias is None else logits + weight_of(matrix, "bias")[tokens]

    def sizes(self, config: "transformers.PreTrainedConfig") -> Sizes:
        """Read the sizes from a configuration."""
        c = cast(Any, config)
        return Sizes(
            n_layers=c.num_hidden_layers,
            n_heads=c.num_attention_heads,
            n_kv_heads=c.num_attention_heads,
            d_model=c.hidden_size,
            d_head=c.hidden_size // c.num_attention_heads,
            d_mlp=self.d_mlp(config),
            max_length=c.max_position_embeddings,
            vocab_size=c.vocab_size,
        )

    @abstractmethod
    def d_mlp(self, config: "transformers.PreTrainedConfig") -> int:
        """Hidden width of one MLP."""

    def refusal(self, config: "transformers.PreTrainedConfig") -> str | None:
        """Why a model of this class, configured so, is not what this family describes; None when it is."""
        return None
