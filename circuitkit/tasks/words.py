"""Tokens and the characters that they stand for: labels and whitespace words."""

import re
from collections.abc import Sequence

from circuitkit.tasks.prompt import Span


def label_tokens(offsets: Sequence[Span], hidden: Sequence[bool], span: Span) -> tuple[int, int] | None:
    """The first and the last token that share a character with a span; None if none does.

    Args:
        offsets: Character span of every token.
        hidden: Tokens that stand for no text of the prompt.
        span: Character span of a label.
    """
    found = [
        i
        for i, ((start, end), skip) in enumerate(zip(offsets, hidden, strict=True))
        if not skip and start < span[1] and end > span[0]
    ]
    return (found[0], found[-1]) if found else None


def token_words(text: str, offsets: Sequence[Span], hidden: Sequence[bool]) -> tuple[int, ...]:
    """Index of the whitespace-delimited word of each token.

    A token belongs to the word of its first character that is no blank. A token of blanks belongs to the word
    after it. What comes after the last word (a blank, or the part of the answers that both share) belongs to
    the last word, so that the number of words depends on the prompt alone and not on the tokenizer.

    Args:
        text: The prompt, without the mask token that was appended to it.
        offsets: Character span of every token.
        hidden: Tokens that stand for no text of the prompt; their word is -1.
    """
    ends = [found.end() for found in re.finditer(r"\S+", text)]
    words: list[int] = []
    for (start, end), skip in zip(offsets, hidden, strict=True):
        blanks = len(text[start:end]) - len(text[start:end].lstrip())
        word = sum(stop <= start + blanks for stop in ends)
        words.append(-1 if skip else min(word, len(ends) - 1))
    return tuple(words)
