"""Where a component's activation on a counterfactual prompt can differ from that on its clean prompt."""

import torch
from jaxtyping import Bool
from torch import Tensor

from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock


def reached(
    batch: PromptBatch, other: TokenBlock, groups: Bool[Tensor, "group prompt pos"], *, is_causal: bool
) -> Bool[Tensor, "group prompt pos"]:
    """The positions of each group at which activations can differ; patching at the others changes nothing at all.

    Args:
        batch: The prompts.
        other: Their counterfactuals.
        groups: The positions of each group.
        is_causal: Whether positions see only those before them.
    """
    differs = ((batch.clean.ids != other.ids) & batch.clean.mask).long()
    since = differs.cumsum(1) > 0 if is_causal else differs.any(1, keepdim=True)
    return groups & since & batch.clean.mask


def at_answer(batch: PromptBatch) -> Bool[Tensor, "prompt pos"]:
    """The answer position: all that is read of what the last block writes."""
    return torch.zeros_like(batch.clean.mask).scatter(1, batch.clean.answer_pos[:, None], value=True)
