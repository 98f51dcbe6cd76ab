"""Where a role reads, told by a task's labels: answer words, repeated words and elements of a sequence."""

import re

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles.places import Places, Side, places_from_keys, readable, side_of
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.prompt import END, PromptPair, Span

SEQUENCE_SHARE = 0.5
"""A task is a sequence if more than this share of its prompts is: in others the rule can be met by chance."""


def end_reads_answer(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """The answer position reads the labels whose word is the correct answer (name movers, Wang et al. 2023)."""
    found = [[label for label in ordered(p) if word(p, label) == p.correct.strip()] for p in batch.pairs]
    return _end_reads(model, batch, found, side)


def end_reads_distractor(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """The answer position reads the labels whose word is the incorrect answer (S1 and S2; Wang et al. 2023)."""
    found = [[label for label in ordered(p) if word(p, label) == p.incorrect.strip()] for p in batch.pairs]
    return _end_reads(model, batch, found, side)


def end_reads_repeated(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """The answer position reads the last mention of a distractor that labels name twice (S2; Wang et al. 2023)."""
    found: list[list[str]] = []
    for pair in batch.pairs:
        mentions = [label for label in ordered(pair) if word(pair, label) == pair.incorrect.strip()]
        found.append(mentions[-1:] if len(mentions) > 1 else [])
    return _end_reads(model, batch, found, side)


def end_reads_elements(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """The answer position reads the elements of a sequence (numeral movers, Lan et al. 2024)."""
    return _end_reads(model, batch, elements(batch), side)


def end_reads_last_element(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """The answer position reads the last element of a sequence (Gould et al. 2024)."""
    return _end_reads(model, batch, [found[-1:] for found in elements(batch)], side)


def end_reads_labels(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """The answer position reads any label (McDougall et al. 2023)."""
    return _end_reads(model, batch, [ordered(pair) for pair in batch.pairs], side)


def end_reads_copied(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """The answer position reads what it could copy: the answer's labels, or the last element of a sequence."""
    answers = [[label for label in ordered(p) if word(p, label) == p.correct.strip()] for p in batch.pairs]
    found = [answer or last[-1:] for answer, last in zip(answers, elements(batch), strict=True)]
    return _end_reads(model, batch, found, side)


def elements_read_earlier(model: HookedModel, batch: PromptBatch, side: Side = "clean") -> Places:
    """Every element of a sequence reads those before it, whatever their order (Lan et al. 2024).

    Raises:
        OptionError: The side is missing, or it is the corrupted one and its labels are not where the clean ones are.
    """
    block = side_of(batch, side)
    check_side(batch, side)
    keys = torch.zeros(*block.ids.shape, block.ids.shape[1], dtype=torch.bool)
    for row, labels in enumerate(elements(batch)):
        there = labels if side == "clean" else [label for label in labels if _same_place(batch.pairs[row], label)]
        positions: list[int] = positions_of(batch, row, there).tolist()
        for number, query in enumerate(positions):
            keys[row, query, positions[:number]] = True
    return places_from_keys(keys & readable(model, block))


def elements(batch: PromptBatch) -> list[list[str]]:
    """The labels of every prompt that are elements of a sequence, in reading order; empty lists if none are.

    They are by rule, not by name: all labels are elements where the correct answer is not in the prompt and the
    incorrect one is the word of the last label, if this holds in most of the task's prompts and there are at least
    two labels.
    """
    held = [_is_sequence(pair) for pair in batch.pairs]
    if sum(held) <= SEQUENCE_SHARE * len(held):
        return [[] for _ in batch.pairs]
    return [ordered(pair) if is_one else [] for pair, is_one in zip(batch.pairs, held, strict=True)]


def ordered(pair: PromptPair) -> list[str]:
    """The labels of a prompt but END, in the order of their words."""
    return sorted((label for label in pair.labels if label != END), key=lambda label: pair.labels[label])


def word(pair: PromptPair, label: str) -> str:
    """The words that a label marks."""
    start, end = pair.labels[label]
    return pair.clean[start:end].strip()


def _same_place(pair: PromptPair, label: str) -> bool:
    """Whether a label's word is the same number of words from the start in both prompts of a pair."""
    if pair.corrupted is None or label not in pair.corrupted_labels:
        return False
    return _words_before(pair.clean, pair.labels[label]) == _words_before(pair.corrupted, pair.corrupted_labels[label])


def _words_before(text: str, where: Span) -> tuple[int, bool]:
    before = text[: where[0]]
    return len(before.split()), before[-1:].isspace()


def _is_sequence(pair: PromptPair) -> bool:
    labels, correct = ordered(pair), pair.correct.strip()
    if len(labels) < 2 or re.search(rf"(?<!\w){re.escape(correct)}(?!\w)", pair.clean):
        return False
    return word(pair, labels[-1]) == pair.incorrect.strip()


def _end_reads(model: HookedModel, batch: PromptBatch, labels: list[list[str]], side: Side) -> Places:
    block = side_of(batch, side)
    check_side(batch, side)
    keys = torch.zeros(*block.ids.shape, block.ids.shape[1], dtype=torch.bool)
    for row, (query, found) in enumerate(zip(block.answer_pos.tolist(), labels, strict=True)):
        keys[row, query] = _at(batch, row, found)
    return places_from_keys(keys & readable(model, block))


def _at(batch: PromptBatch, row: int, labels: list[str]) -> Bool[Tensor, " pos"]:
    """The positions of some labels of one prompt; labels that not every prompt has are not in a batch."""
    where = torch.zeros(batch.clean.ids.shape[1], dtype=torch.bool)
    where[positions_of(batch, row, labels)] = True
    return where


def positions_of(batch: PromptBatch, row: int, labels: list[str]) -> Int[Tensor, " label"]:
    """Where some labels of one prompt are, in the order given; labels that not every prompt has are left out."""
    known = [int(batch.label_positions[label][row]) for label in labels if label in batch.label_positions]
    return torch.tensor(known, dtype=torch.long)


def check_side(batch: PromptBatch, side: Side) -> None:
    """Refuse corrupted prompts whose labels are not where the clean ones have theirs.

    Raises:
        OptionError: They are not.
    """
    if side == "corrupted" and not batch.positional:
        raise OptionError(
            f"Task {batch.task.name!r} has corrupted prompts of another form, in which its labels are not where they "
            "are in the clean ones; this role needs them to be."
        )
