"""Which prompts a probe reads, and at which position of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.probes.words import Side, word_labels
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.prompt import END
from circuitkit.tasks.token_block import TokenBlock


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """Tokens and the one position of every prompt that is read.

    Attributes:
        name: Equal for readings of the same prompts at the same positions.
        place: Where is read, in words.
        ids: Token ids.
        mask: True at tokens.
        positions: The position that is read in each prompt.
    """

    name: str
    place: str
    ids: Int[Tensor, "prompt pos"]
    mask: Bool[Tensor, "prompt pos"]
    positions: Int[Tensor, " prompt"]


def block_of(batch: PromptBatch, side: Side) -> TokenBlock:
    """The tokens of one side."""
    if side == "clean":
        return batch.clean
    assert batch.corrupted is not None
    return batch.corrupted


def plain_reading(batch: PromptBatch, side: Side, label: str) -> Reading:
    """Every prompt of one side at the last token of a label; END is the answer position.

    Raises:
        OptionError: There is no such label.
    """
    block = block_of(batch, side)
    if label != END and label not in word_labels(batch):
        known = ", ".join((*word_labels(batch), END))
        raise OptionError(f"Label {label[:60]!r} is none of task {batch.task.name!r}; give --at one of {known}.")
    at = block.answer_pos if label == END else batch.label_positions[label]
    return Reading(name=f"{side} {label}", place=label, ids=block.ids, mask=block.mask, positions=at)


def previous_reading(
    batch: PromptBatch, side: Side, elements: Sequence[str], *, at: str | None, seed: int
) -> tuple[list[int], Reading]:
    """Every prompt at one element but the first, drawn at random where none is given.

    Returns:
        Which element is read in each prompt (from 0), and the reading.

    Raises:
        OptionError: The label is not one of those elements.
    """
    if at is not None and at not in elements[1:]:
        raise OptionError(f"No element comes before label {at[:60]!r}; give --at one of {', '.join(elements[1:])}.")
    n, block = len(batch.pairs), block_of(batch, side)
    if at is not None:
        places = torch.full((n,), elements.index(at))
    else:
        places = torch.randint(1, len(elements), (n,), generator=torch.Generator().manual_seed(seed))
    all_positions = torch.stack([batch.label_positions[label] for label in elements])
    where = at or f"one of {', '.join(elements[1:])}"
    return places.tolist(), Reading(
        name=f"{side} previous {at}",
        place=where,
        ids=block.ids,
        mask=block.mask,
        positions=all_positions[places, torch.arange(n)],
    )
