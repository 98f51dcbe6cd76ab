"""One clean prompt with its corrupted partner and the two answers that are compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

MASK = "[MASK]"
"""How a prompt writes the place of a masked language model's answer, whatever its tokenizer calls it."""

END = "END"
"""Label of the place where the answer is read: every prompt has it."""

UNNAMED = "(not named)"
"""Template of written prompts that name none."""

Span = tuple[int, int]


_NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """A prompt changed by one of the kinds that a task names.

    Attributes:
        text: The prompt, without an answer.
        labels: The clean prompt's labels as character spans in `text`; without those whose place is not known.
    """

    text: str
    labels: Mapping[str, Span]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPair:
    """A clean prompt, its corrupted partner and two answers.

    Attributes:
        clean: The prompt, without its answer.
        corrupted: A prompt of the same form in which the clean answer no longer follows; None without one.
        correct: The right continuation of `clean`, with its leading space if it has one.
        incorrect: The distractor that it is compared with.
        template: Prompts of one template have the same structure.
        labels: Label to character span (start, end) in `clean`; END is the last word.
        corrupted_labels: The same labels in `corrupted`; empty without one.
        counterfactuals: Kind to the clean prompt changed by it; only those that were asked for or written down.
    """

    clean: str
    corrupted: str | None
    correct: str
    incorrect: str
    template: str
    labels: Mapping[str, Span]
    corrupted_labels: Mapping[str, Span]
    counterfactuals: Mapping[str, str] = field(default_factory=lambda: _NONE)


@lru_cache(maxsize=4096)
def span(start: int, end: int) -> Span:
    """A character span; the few that there are in thousands of prompts are the same objects."""
    return (start, end)


def last_word(text: str) -> Span:
    """Character span of the last whitespace-delimited word of a text; (0, 0) if it has none."""
    end = len(text.rstrip())
    start = max(text.rfind(blank, 0, end) for blank in (" ", "\n", "\t")) + 1
    return span(start, end)
