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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Repeats:
    """Prompts in which a token was made to be a repetition, and the same prompts in which it is none.

    Attributes:
        reading: Four versions of all prompts, one after another: two with a repetition, two without.
        tokens: The two tokens that are planted in each prompt of the task.
        part: Which part of the tokens they are from.
    """

    reading: Reading
    tokens: list[tuple[int, int]]
    part: Int[Tensor, " prompt"]


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


def planted_repeats(batch: PromptBatch, side: Side, *, n_parts: int, seed: int) -> Repeats:
    """Every prompt four times: each of two tokens, read as a repetition of itself and after the other.

    In every prompt two labels are drawn, and two tokens that stand nowhere else in it. Either token is put at the later
    label, where it is read, and either at the earlier one: the same there makes a repetition. So which token is read,
    which one came before it, and where, is the same in both classes, prompt by prompt: only the relation between the
    two places tells them apart.

    The labelled tokens of all prompts are parted at random; both tokens of a prompt are from one part. When a part is
    held out its tokens are planted in no fitted prompt.

    Args:
        batch: The prompts.
        side: Which of them are changed.
        n_parts: Parts of the tokens.
        seed: Seed of the draws.

    Raises:
        OptionError: The task has fewer than two labels, or its labelled tokens are too few.
    """
    labels = word_labels(batch)
    where = torch.stack([batch.label_positions[label] for label in (*labels, END)], 1)[:, :-1]
    least = min(len(set(row)) for row in where.tolist())
    if least < 2:
        raise OptionError(
            f"Task {batch.task.name!r} labels {least} different tokens of a prompt; prior-occurrence needs 2 or more, "
            "to plant repeats. Label more words in the task."
        )
    generator = torch.Generator().manual_seed(seed)
    block = block_of(batch, side)
    versions, n = [block.ids.clone() for _ in range(4)], len(batch.pairs)
    pool = torch.tensor(sorted(set(block.ids.gather(1, where).flatten().tolist())))
    parts = pool[torch.randperm(len(pool), generator=generator)].tensor_split(n_parts)
    positions: list[int] = []
    tokens: list[tuple[int, int]] = []
    part_of: list[int] = []
    for row in range(n):
        order = sorted(set(where[row].tolist()))
        early, late = (order[i] for i in sorted(torch.randperm(len(order), generator=generator)[:2].tolist()))
        held = enumerate(block.ids[row, block.mask[row]].tolist())
        present = {token for at, token in held if at not in (early, late)}
        free = [[token for token in part.tolist() if token not in present] for part in parts]
        usable = [number for number, new in enumerate(free) if len(new) > 1]
        if not usable:
            raise _too_few(batch, len(pool), n_parts)
        number = usable[int(torch.randint(len(usable), (1,), generator=generator))]
        new = free[number]
        one, other = (new[i] for i in torch.randperm(len(new), generator=generator)[:2].tolist())
        for version, (before, here) in zip(
            versions, ((one, one), (other, other), (other, one), (one, other)), strict=True
        ):
            version[row, early], version[row, late] = before, here
        positions.append(late)
        tokens.append((one, other))
        part_of.append(number)
    if len(set(part_of)) < n_parts:
        raise _too_few(batch, len(pool), n_parts)
    return Repeats(
        reading=Reading(
            name=f"{side} repeats",
            place="a label",
            ids=torch.cat(versions),
            mask=block.mask.repeat(4, 1),
            positions=torch.tensor(positions * 4),
        ),
        tokens=tokens,
        part=torch.tensor(part_of),
    )


def _too_few(batch: PromptBatch, n_tokens: int, n_parts: int) -> OptionError:
    return OptionError(
        f"Task {batch.task.name!r} has {n_tokens} different tokens at its labels, too few for prior-occurrence with "
        f"{n_parts} folds; lower --folds, or add words to the task."
    )
