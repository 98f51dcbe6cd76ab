"""Prompts in which a token is made to repeat an earlier one, and the same prompts in which it does not."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.probes.readings import Reading, block_of
from circuitkit.probes.words import Side, word_labels
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock

Where = Literal["positions", "labels"]
_NAMES = {"positions": "every position but the first", "labels": "a label"}


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


def planted_repeats(batch: PromptBatch, side: Side, *, where: Where, n_parts: int, seed: int) -> Repeats:
    """Every prompt four times: each of two tokens, read as a repetition of itself and after the other.

    In every prompt two places are drawn, and two tokens that stand nowhere else in it. Either token is put at the later
    place, where it is read, and either at the earlier one: the same there makes a repetition. So which token is read,
    which one came before it, and where, is the same in both classes, prompt by prompt: only the relation between the
    two places tells them apart. Over prompts of one length every place but the first is read equally often.

    The tokens that stand at such places in any prompt are parted at random; both tokens of a prompt are from one part.
    When a part is held out its tokens are planted in no fitted prompt.

    Args:
        batch: The prompts.
        side: Which of them are changed.
        where: Places: every position that holds a token of the text, or those of the task's labels.
        n_parts: Parts of the tokens.
        seed: Seed of the draws.

    Raises:
        OptionError: A prompt has fewer than two such places, or there are too few tokens.
    """
    block = block_of(batch, side)
    places = _places(batch, block, where)
    generator = torch.Generator().manual_seed(seed)
    n = len(batch.pairs)
    versions = [block.ids.clone() for _ in range(4)]
    pool = torch.tensor(sorted({int(block.ids[row, at]) for row in range(n) for at in places[row]}))
    parts = pool[torch.randperm(len(pool), generator=generator)].tensor_split(n_parts)
    turns = _turns([len(found) for found in places], generator)
    positions: list[int] = []
    tokens: list[tuple[int, int]] = []
    part_of: list[int] = []
    for row in range(n):
        which = turns[row]
        late = places[row][which]
        early = places[row][_below(which, generator)]
        present = {
            token for at, token in enumerate(block.ids[row].tolist()) if block.mask[row, at] and at not in (early, late)
        }
        free = [[token for token in part.tolist() if token not in present] for part in parts]
        usable = [number for number, new in enumerate(free) if len(new) > 1]
        if not usable:
            raise _too_few(batch, where, len(pool), n_parts)
        number = usable[_below(len(usable), generator)]
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
        raise _too_few(batch, where, len(pool), n_parts)
    return Repeats(
        reading=Reading(
            name=f"{side} repeats at {where}",
            place=_NAMES[where],
            ids=torch.cat(versions),
            mask=block.mask.repeat(4, 1),
            positions=torch.tensor(positions * 4),
        ),
        tokens=tokens,
        part=torch.tensor(part_of),
    )


def _turns(lengths: list[int], generator: torch.Generator) -> list[int]:
    """Which place of each prompt is read: of prompts with as many places every one but the first in turn."""
    turns = [0] * len(lengths)
    for length in sorted(set(lengths)):
        rows = [row for row, n in enumerate(lengths) if n == length]
        for turn, i in enumerate(torch.randperm(len(rows), generator=generator).tolist()):
            turns[rows[i]] = 1 + turn % (length - 1)
    return turns


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (1,), generator=generator))


def _places(batch: PromptBatch, block: TokenBlock, where: Where) -> list[list[int]]:
    """The places of each prompt in order; special tokens, a mask to be filled in among them, are none."""
    if where == "positions":
        found = [torch.nonzero(row)[:, 0].tolist() for row in block.words >= 0]
        needed = f"Task {batch.task.name!r} has a prompt of {{}} tokens; prior occurrence needs 2 or more in each."
    else:
        labels = [batch.label_positions[label] for label in word_labels(batch)]
        rows = torch.stack(labels, 1).tolist() if labels else [[] for _ in batch.pairs]
        found = [sorted(set(row)) for row in rows]
        needed = (
            f"Task {batch.task.name!r} labels {{}} different tokens of a prompt; prior-occurrence-labels needs 2 or "
            "more, to plant repeats. Take prior-occurrence, which is read at every position, or label more words."
        )
    least = min(map(len, found))
    if least < 2:  # noqa: PLR2004 - the earlier and the later place
        raise OptionError(needed.format(least))
    return found


def _too_few(batch: PromptBatch, where: Where, n_tokens: int, n_parts: int) -> OptionError:
    which = "at its labels" if where == "labels" else "in its prompts"
    return OptionError(
        f"Task {batch.task.name!r} has {n_tokens} different tokens {which}, too few for prior occurrence with "
        f"{n_parts} folds; lower --folds, or add words to the task."
    )
