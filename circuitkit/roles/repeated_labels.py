"""Where a role reads that is about repeated words: at repeated labels where there are any, or else everywhere."""

from dataclasses import replace

import torch

from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles import places
from circuitkit.roles.label_places import check_side, ordered, positions_of, word
from circuitkit.roles.places import Places, Side, places_from_keys, readable, side_of
from circuitkit.tasks.batch import PromptBatch

REPEATED_SHARE = 0.5
"""Labels tell where words are repeated if they do in more than this share of the prompts."""
AT_LABELS = "at labels that repeat an earlier label's word"
AT_EVERY_TOKEN = "at every token that occurred before, because no labels repeat a word"


def duplicate_token(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """A repeated label reads its earlier mention (S2 reads S1; Wang et al. 2023, section 3).

    In masked models the earlier mention reads the later one too. Where labels repeat no words, every repeated token
    reads its earlier occurrences; the places say which of the two it is.

    Raises:
        OptionError: The side is missing, or it is the corrupted one and its labels are not where the clean ones are.
    """
    found = _repeated(batch)
    if found is None:
        return replace(places.duplicate_token(model, batch, side), rule=AT_EVERY_TOKEN)
    return _repeated_read(model, batch, found, side, ahead=0)


def induction(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """A repeated label reads what followed its earlier mention (S2 reads S1 + 1; Wang et al. 2023, section 3).

    In masked models the earlier mention also reads what follows the later one. Where labels repeat no words, every
    repeated token reads so (Olsson et al. 2022); the places say which of the two it is.

    Raises:
        OptionError: The side is missing, or it is the corrupted one and its labels are not where the clean ones are.
    """
    found = _repeated(batch)
    if found is None:
        return replace(places.induction(model, batch, side), rule=AT_EVERY_TOKEN)
    return _repeated_read(model, batch, found, side, ahead=1)


def _repeated(batch: PromptBatch) -> list[list[tuple[str, str]]] | None:
    """Labels of every prompt with the earlier ones of the same word; None where few prompts have any."""
    found: list[list[tuple[str, str]]] = []
    for pair in batch.pairs:
        labels = [label for label in ordered(pair) if label in batch.label_positions]
        found.append(
            [
                (later, earlier)
                for number, later in enumerate(labels)
                for earlier in labels[:number]
                if word(pair, later) == word(pair, earlier)
            ]
        )
    return found if sum(map(bool, found)) > REPEATED_SHARE * len(found) else None


def _repeated_read(
    model: HookedModel, batch: PromptBatch, found: list[list[tuple[str, str]]], side: Side, *, ahead: int
) -> Places:
    """Later labels read the earlier ones, or the token so many behind them; in masked models both ways."""
    block = side_of(batch, side)
    check_side(batch, side)
    length = block.ids.shape[1]
    keys = torch.zeros(*block.ids.shape, length, dtype=torch.bool)
    for row, pairs in enumerate(found):
        for pair in pairs:
            later, earlier = positions_of(batch, row, list(pair)).tolist()
            for query, key in ((later, earlier), (earlier, later)):
                if key + ahead < length:
                    keys[row, query, key + ahead] = True
    return places_from_keys(keys & readable(model, block), rule=AT_LABELS)  # in causal models nothing later is readable
