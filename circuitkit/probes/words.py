"""The labelled words of prompts: what stands where, and which of them form a sequence."""

from collections.abc import Sequence
from typing import Literal

from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.prompt import END, PromptPair

Side = Literal["clean", "corrupted"]


def label_word(pair: PromptPair, label: str, side: Side) -> str:
    """The word (or words) at a label of one side of a pair."""
    text, spans = sided(pair, side)
    start, end = spans[label]
    return text[start:end]


def sided(pair: PromptPair, side: Side) -> tuple[str, dict[str, tuple[int, int]]]:
    """Text and labels of one side; the corrupted text is empty where there is none."""
    if side == "clean":
        return pair.clean, dict(pair.labels)
    return pair.corrupted or "", dict(pair.corrupted_labels)


def word_labels(batch: PromptBatch) -> tuple[str, ...]:
    """Labels that every prompt has, END left out, in the order of the first prompt."""
    first = batch.pairs[0].labels
    return tuple(sorted((label for label in batch.label_positions if label != END), key=lambda label: first[label]))


def sequence_labels(batch: PromptBatch) -> tuple[str, ...]:
    """The labels that are elements of a sequence, in order; none where the task is not one.

    A task is taken as a sequence to be continued where the answer stands at no label and the distractor is the
    word at the last label, in every prompt.
    """
    labels = word_labels(batch)
    if len(labels) < 2:
        return ()
    for pair in batch.pairs:
        words = [label_word(pair, label, "clean") for label in labels]
        if pair.correct.strip() in words or pair.incorrect.strip() != words[-1]:
            return ()
    return labels


def other_labels(batch: PromptBatch, labels: Sequence[str], side: Side) -> tuple[str, ...]:
    """Labels of other words: those that repeat one of the given labels' words in every prompt are left out."""
    found: list[str] = []
    for label in word_labels(batch):
        same = any(all(label_word(p, label, side) == label_word(p, one, side) for p in batch.pairs) for one in labels)
        if not same:
            found.append(label)
    return tuple(found)


def last_free_words(batch: PromptBatch, side: Side) -> list[str]:
    """The last word of each prompt that differs between prompts of its template and is no labelled one.

    Empty where nothing but labelled words differs: what stands there is filler, such as the noun of the last
    sentence, and says nothing of the target.
    """
    frames = [_frame(pair, side) for pair in batch.pairs]
    groups: dict[tuple[str, int], list[int]] = {}
    for row, (pair, words) in enumerate(zip(batch.pairs, frames, strict=True)):
        groups.setdefault((pair.template, len(words)), []).append(row)
    out = [""] * len(frames)
    for (_, length), rows in groups.items():
        differing = [at for at in range(length) if len({frames[row][at] for row in rows}) > 1]
        if differing:
            for row in rows:
                out[row] = frames[row][differing[-1]]
    return out


def _frame(pair: PromptPair, side: Side) -> list[str]:
    """The words of a prompt with labelled spans blanked out; END is blanked only where it is a label's."""
    text, spans = sided(pair, side)
    for label, (start, end) in spans.items():
        if label != END:
            text = text[:start] + "_" * (end - start) + text[end:]
    return ["_" if set(word) <= {"_", ".", ","} else word.strip(".,") for word in text.split()]
