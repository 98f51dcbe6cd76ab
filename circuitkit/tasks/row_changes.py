"""What a slot of a table's row holds instead: its own words in another order, or some words of another row."""

from collections.abc import Sequence
from random import Random

from circuitkit.tasks.rules import OtherRowsWords
from circuitkit.tasks.task import Alike


def shuffle_words(text: str, rng: Random) -> str:
    """The words in another order; the last stays, because the punctuation is with it."""
    *words, last = text.split(" ")
    rng.shuffle(words)
    return " ".join([*words, last])


def draw_words(
    text: str, others: Sequence[str], rng: Random, *, rule: OtherRowsWords, alike: Alike | None = None
) -> str:
    """The first or last words are those of another text; the text itself where it is too short for that.

    Args:
        text: What the clean prompt holds.
        others: What the rows of the table hold.
        rng: Where the randomness comes from.
        rule: Which words, and how many.
        alike: Words are replaced by words that this accepts in their place, as far as there are any.
    """
    own = _cut(text, rule)
    if own is None:
        return text
    cuts = (_cut(other, rule) for other in others)
    choices = sorted({cut[0] for cut in cuts if cut is not None} - {own[0]})
    if alike is not None:
        choices = [words for words in choices if alike(own[0], words)] or choices
    if not choices:
        return text
    drawn = rng.choice(choices)
    return f"{drawn} {own[1]}" if rule.words == "first" else f"{own[1]} {drawn}"


def _cut(text: str, rule: OtherRowsWords) -> tuple[str, str] | None:
    """The words that a rule is about, and the others; None where there are no others."""
    words = text.split(" ")
    if len(words) <= rule.n:
        return None
    at = rule.n if rule.words == "first" else len(words) - rule.n
    before, after = " ".join(words[:at]), " ".join(words[at:])
    return (before, after) if rule.words == "first" else (after, before)
