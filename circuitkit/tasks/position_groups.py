"""Where in a prompt something is: at a label of the task, at its end, or anywhere else."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.prompt import END

REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PositionGroups:
    """Groups of token positions.

    Attributes:
        names: The labels, END among them, in the order of their mean positions; the last one is `rest`.
        masks: The positions of each group in each prompt.
    """

    names: tuple[str, ...]
    masks: Bool[Tensor, "group prompt pos"]


def position_groups(batch: PromptBatch) -> PositionGroups:
    """One group a label, and all other tokens.

    A label is the tokens that share a character with its span, END those of the last word up to the answer (of masked
    models the mask token); where only the last token of a label is known, it is the word that holds it. Labels that
    overlap share tokens. `rest` is every other token that is not padding, those that the tokenizer adds included; it
    may be empty.

    Args:
        batch: The prompts.
    """
    mask, words = batch.clean.mask, batch.clean.words
    row, places = torch.arange(len(mask)), torch.arange(mask.shape[1])
    ends = {END: batch.clean.answer_pos, **batch.label_positions}
    masks: dict[str, Tensor] = {}
    for label, last in sorted(ends.items(), key=lambda item: item[1].double().mean().item()):
        if (first := batch.label_starts.get(label)) is not None:
            masks[label] = mask & (places >= first[:, None]) & (places <= last[:, None])
            continue
        word = words[row, last][:, None]
        masks[label] = mask & ((places == last[:, None]) | ((words == word) & (word >= 0)))
    masks[REST] = mask & ~torch.stack(list(masks.values())).any(0)
    return PositionGroups(names=tuple(masks), masks=torch.stack(list(masks.values())))
