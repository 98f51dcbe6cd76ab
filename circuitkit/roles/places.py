"""Where a role reads: which positions, and what each of them should read there."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock

Side = Literal["clean", "corrupted"]
"""Which of a batch's prompts are read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """Where a role reads in every prompt of one side of a batch; all on the CPU.

    Special tokens (beginning of sequence, [CLS], [SEP]) are no keys: attention rests on them where there is nothing
    to read. The mask token of a masked model can be a query, for it is where the answer is read.

    Attributes:
        queries: Positions that read.
        keys: What each of them should read; False rows for all other positions. In causal models no key lies behind
            its query, and none is the query itself.
        defined: Prompts that have such places.
        rule: Which places these are, in words, where a role has several rules for them; else None.
    """

    queries: Bool[Tensor, "prompt pos"]
    keys: Bool[Tensor, "prompt query key"]
    defined: Bool[Tensor, " prompt"]
    rule: str | None = None


def places_from_keys(keys: Bool[Tensor, "prompt query key"], *, rule: str | None = None) -> Places:
    """The places of given keys: a position is a query if it has any, a prompt is defined if it has any query."""
    queries = keys.any(2)
    return Places(queries=queries, keys=keys, defined=queries.any(1), rule=rule)


def side_of(batch: PromptBatch, side: Side) -> TokenBlock:
    """The prompts of one side.

    Raises:
        OptionError: There are no corrupted ones.
    """
    if side == "clean":
        return batch.clean
    if batch.corrupted is None:
        raise OptionError(f"Task {batch.task.name!r} has no corrupted prompts, where this role is measured; give them.")
    return batch.corrupted


def readable(model: HookedModel, block: TokenBlock) -> Bool[Tensor, "prompt query key"]:
    """What a position could read of the text: tokens but special ones, itself and, in causal models, what follows."""
    length = block.ids.shape[1]
    at = torch.arange(length)
    reach = at < at[:, None] if model.is_causal else at != at[:, None]
    return reach & block.mask[:, :, None] & (block.words >= 0)[:, None, :]


def previous_token(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """Every word's tokens read the token before them (Olsson et al. 2022).

    Raises:
        OptionError: The side is missing.
    """
    block = side_of(batch, side)
    at = torch.arange(block.ids.shape[1])
    before = at == at[:, None] - 1
    return places_from_keys(before & _from_text(model, block))


def duplicate_token(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """A token reads its earlier occurrences, in masked models the later ones too (Wang et al. 2023).

    Raises:
        OptionError: The side is missing.
    """
    block = side_of(batch, side)
    return places_from_keys(_same(block.ids) & _from_text(model, block))


def induction(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """A token reads what followed its earlier occurrences, in masked models its later ones too (Olsson et al. 2022).

    Raises:
        OptionError: The side is missing.
    """
    block = side_of(batch, side)
    followed = _same(block.ids) & _from_text(model, block)
    keys = torch.zeros_like(followed)
    keys[:, :, 1:] = followed[:, :, :-1]
    return places_from_keys(keys & _from_text(model, block))


def _from_text(model: HookedModel, block: TokenBlock) -> Bool[Tensor, "prompt query key"]:
    """What the text's own tokens could read: special tokens and padding read nothing here."""
    return readable(model, block) & (block.words >= 0)[:, :, None]


def _same(ids: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt pos pos"]:
    return ids[:, :, None] == ids[:, None, :]
