"""The tokens of many prompts in one rectangle."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuitkit.tasks.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenBlock:
    """Prompts as token ids, padded on the right.

    Attributes:
        ids: Token ids; 0 where the mask is False: padding is masked, and the tokenizer's own padding token may lie
            beyond the model's vocabulary.
        mask: True at tokens, False at padding.
        answer_pos: The position whose logits are read: the last token for causal models, else the mask token.
        words: Index of the whitespace word that a token belongs to; -1 for special tokens and padding.
    """

    ids: Int[Tensor, "prompt pos"]
    mask: Bool[Tensor, "prompt pos"]
    answer_pos: Int[Tensor, " prompt"]
    words: Int[Tensor, "prompt pos"]


def stack_readings(readings: Sequence[Reading], *, width: int) -> TokenBlock:
    """Put prompts into one rectangle of a given width."""
    lengths = torch.tensor([len(reading.ids) for reading in readings])
    mask = torch.arange(width) < lengths[:, None]
    ids, words = torch.zeros(mask.shape, dtype=torch.long), torch.full(mask.shape, -1)
    ids.masked_scatter_(mask, torch.tensor([token for reading in readings for token in reading.ids]))
    words.masked_scatter_(mask, torch.tensor([word for reading in readings for word in reading.words]))
    return TokenBlock(
        ids=ids,
        mask=mask,
        answer_pos=torch.tensor([reading.answer_pos for reading in readings]),
        words=words,
    )
