"""Positions that two models share: tokens if they tokenise alike, whitespace words if they do not."""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.core.errors import TaskError
from circuitkit.tasks.batch import PromptBatch, TokenBlock


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharedPositions:
    """Where the activations of two models may be compared.

    A unit is a token or a word of a prompt. A slot is a place that units of several prompts have in common,
    over which means are taken: a position of a template group; or all units at once, where a task's prompts
    cannot be grouped.

    Attributes:
        unit: What is compared.
        present: Units that both models have; padding, and with words also special tokens, are left out.
        slot: Slot of every unit's activation; -1 where it is not present.
        row: Slot of every unit as a query of an attention pattern; as `slot`, but by position also where
            prompts cannot be grouped.
    """

    unit: Literal["token", "word"]
    present: Bool[Tensor, "prompt unit"]
    slot: Int[Tensor, "prompt unit"]
    row: Int[Tensor, "prompt unit"]


def share_positions(teacher: PromptBatch, student: PromptBatch) -> SharedPositions:
    """Find the shared positions of the clean prompts of two batches that hold the same prompts.

    Tokens are compared if both models give identical token ids on every prompt. Otherwise words are: the
    prompts of one template with equally many words make a group. Words that one side lacks (a mask token
    appended for a masked model) are left out.

    Raises:
        TaskError: A prompt has no word in common.
    """
    if _same_tokens(teacher.clean, student.clean):
        present = teacher.clean.mask[:, : _length(teacher.clean)]
        group = teacher.group
        unit: Literal["token", "word"] = "token"
    else:
        width = 1 + max(int(block.words.max()) for block in (teacher.clean, student.clean))
        present = _words_present(teacher.clean, width) & _words_present(student.clean, width)
        if not bool(present.any(1).all()):
            first = teacher.pairs[int((~present.any(1)).nonzero()[0])].clean
            raise TaskError(
                f"Prompt {first!r} has no word that both tokenizers see; wanted at least one. Leave it out."
            )
        group = _groups([pair.template for pair in teacher.pairs], present)
        unit = "word"
    # one batch may be pooled only because its corrupted prompts differ in length, which words do not mind
    positional = teacher.positional or student.positional
    place = torch.arange(present.shape[1])
    by_position = rearrange(group, "prompt -> prompt 1") * len(place) + place
    row = by_position if positional else place.expand_as(present)
    row = _dense(row, present)
    slot = row if positional else _dense(torch.zeros_like(row), present)
    return SharedPositions(unit=unit, present=present, slot=slot, row=row)


def _same_tokens(teacher: TokenBlock, student: TokenBlock) -> bool:
    longest = _length(teacher)  # padding that no prompt needs may differ
    mask = teacher.mask[:, :longest]
    if not torch.equal(mask, student.mask[:, : _length(student)]):
        return False
    return bool((teacher.ids[:, :longest] == student.ids[:, :longest])[mask].all())


def _length(block: TokenBlock) -> int:
    return int(block.mask.sum(1).max())


def _words_present(block: TokenBlock, n_words: int) -> Bool[Tensor, "prompt unit"]:
    word = block.words.where(
        block.mask & (block.words >= 0), n_words
    )  # what is no word goes to a column that is cut off
    return torch.zeros(len(word), n_words + 1, dtype=torch.bool).scatter_(1, word, True)[:, :n_words]


def _groups(templates: list[str], present: Bool[Tensor, "prompt unit"]) -> Int[Tensor, " prompt"]:
    """Number the pairs of a template and a count of shared words in order of first appearance."""
    keys = list(zip(templates, present.sum(1).tolist(), strict=True))
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return torch.tensor([number[key] for key in keys])


def _dense(slot: Int[Tensor, "prompt unit"], present: Bool[Tensor, "prompt unit"]) -> Int[Tensor, "prompt unit"]:
    """Number the slots that occur from 0 without gaps; -1 where no unit is."""
    occurs = torch.bincount(slot[present]) > 0
    number = (occurs.cumsum(0) - 1)[slot.clamp(max=len(occurs) - 1)]
    return number.masked_fill_(~present, -1)


def word_membership(
    words: Int[Tensor, "prompt pos"], mask: Bool[Tensor, "prompt pos"], n_words: int
) -> Bool[Tensor, "prompt pos word"]:
    """Which tokens belong to which word; special tokens (-1) and padding belong to none."""
    return (rearrange(words, "prompt pos -> prompt pos 1") == torch.arange(n_words)) & rearrange(
        mask, "prompt pos -> prompt pos 1"
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitView:
    """Brings one model's activations at tokens to the shared units of some prompts.

    Attributes:
        present: Units to keep.
        member: Which tokens belong to which unit; None where units are tokens.
    """

    present: Bool[Tensor, "row unit"]
    member: Float[Tensor, "row pos unit"] | None

    def activations(self, x: Float[Tensor, "row pos *rest"]) -> Float[Tensor, "row unit *rest"]:
        """Mean over the tokens of each unit (float64)."""
        x = x.to(self.present.device).double()
        if self.member is None:
            return x
        average = self.member / self.member.sum(1, keepdim=True).clamp(min=1)
        return einsum(average, x, "row pos unit, row pos ... -> row unit ...")

    def patterns(self, x: Float[Tensor, "row head query key"]) -> Float[Tensor, "row head unit unit_key"]:
        """Attention between units: summed over the key's tokens, averaged over the query's (float64).

        What is paid to keys that are no shared unit is left out, so rows may sum to less than 1.
        """
        x = x.to(self.present.device).double()
        if self.member is not None:
            average = self.member / self.member.sum(1, keepdim=True).clamp(min=1)
            x = einsum(average, x, self.member, "row q a, row head q k, row k b -> row head a b")
        return x * rearrange(self.present, "row key -> row 1 1 key")


def view_units(
    block: TokenBlock,
    shared: SharedPositions,
    rows: Int[Tensor, " row"],
    *,
    length: int,
    device: torch.device,
) -> UnitView:
    """The units of some prompts of one model.

    Args:
        block: The model's tokens.
        shared: Positions shared with the other model.
        rows: The prompts.
        length: Number of tokens that the rows are cut to.
        device: Where the activations lie.
    """
    if shared.unit == "token":
        return UnitView(present=shared.present[rows, :length].to(device), member=None)
    member = word_membership(block.words[rows, :length], block.mask[rows, :length], shared.present.shape[1])
    return UnitView(present=shared.present[rows].to(device), member=member.double().to(device))
