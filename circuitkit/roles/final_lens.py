"""From what a component writes at the answer position to logits."""

from functools import cached_property
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.models.frozen_norm import FrozenNorm, freeze_norm
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.offload import weight_of

POST_NORM_WRITES = (
    "Residual streams of this model are normalised after every addition, so that logits are no sum of what components "
    "write; writes are read by the language-model head's own transform alone, which tells tokens but not logits."
)
NOT_ADDITIVE = (
    "Residual streams of this model are normalised after every addition (post-LN): its logits are no sum of what "
    "components write, so that no component has a direct contribution."
)


class FinalLens:
    """Reads writes as the end of the model does (Elhage et al. 2021; Wang et al. 2023, appendix).

    Pre-LN: the final norm with the scale of the clean run, then the unembedding: linear, and the logits are the sum of
    what all writes give, plus what the biases give. Post-LN has no such map: the head's transform, then the
    unembedding. The unembedding's bias is in none of them.

    Args:
        model: The model.
        stream: The clean stream behind the last block, at the answer positions.
    """

    @torch.no_grad()
    def __init__(self, model: HookedModel, stream: Float[Tensor, "row d_model"]) -> None:
        self.model, path = model, model.family.final_norm_path
        matrix = model.family.unembedding(model.raw)
        self.weight = weight_of(matrix).detach()
        self.bias = None if cast(Tensor | None, matrix.bias) is None else weight_of(matrix, "bias").detach()
        self.norm: FrozenNorm | None = None
        if path is not None:
            self.norm = freeze_norm(model.raw.get_submodule(path), stream.to(self.weight.device))

    @torch.no_grad()
    def vocabulary(self, write: Float[Tensor, "*unit row d_model"]) -> Float[Tensor, "*unit row vocab"]:
        """What a write gives to every token of the vocabulary.

        Args:
            write: One write a prompt, in the order of the streams.
        """
        write = write.to(self.weight.device)
        if self.norm is None:
            hidden = self.model.family.transform(self.model.raw, write.to(self.model.dtype))
        else:
            hidden = self.norm.of(write)
        return hidden.float() @ self._wide.T

    @cached_property
    def _wide(self) -> Float[Tensor, "vocab d_model"]:
        """In half precision, many tokens would tie."""
        return self.weight.float()

    def direction(self, correct: Int[Tensor, " row"], incorrect: Int[Tensor, " row"]) -> Float[Tensor, "row d_model"]:
        """The direction that turns a write into its share of the logit difference, by a dot product.

        Raises:
            OptionError: The model is post-LN.
        """
        return self._norm().back(self._difference(correct, incorrect))

    def constant(self, correct: Int[Tensor, " row"], incorrect: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
        """What the biases of norm and unembedding give to the logit difference, in logits.

        Raises:
            OptionError: The model is post-LN.
        """
        norm, difference = self._norm(), self._difference(correct, incorrect)
        out = torch.zeros(len(difference), device=difference.device)
        if norm.bias is not None:
            out = out + difference @ norm.bias
        return out if self.bias is None else out + self.bias[correct].float() - self.bias[incorrect].float()

    def _difference(self, correct: Int[Tensor, " row"], incorrect: Int[Tensor, " row"]) -> Float[Tensor, "row d_model"]:
        device = self.weight.device
        return self.weight[correct.to(device)].float() - self.weight[incorrect.to(device)].float()

    def _norm(self) -> FrozenNorm:
        if self.norm is None:
            raise OptionError(
                f"Direct contributions asked of {self.model.info.name!r}; wanted a pre-LN model, such as "
                f"GPT-2 or Llama. {NOT_ADDITIVE}"
            )
        return self.norm
