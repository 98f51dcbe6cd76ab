"""A claim of the paper on one pair, and how it fares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "does not hold", "not comparable"]
ALPHA = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim on one pair.

    Attributes:
        claim: What the paper says, in our words.
        source: Where.
        rule: When it holds.
        verdict: Whether it does.
        evidence: Our numbers.
        null: Whether it survives the null; None where there is none.
        control: Whether it survives the student before distillation; None where that is not known or cannot be told.
        beside: What null and control say, in numbers.
    """

    claim: str
    source: str
    rule: str
    verdict: Verdict
    evidence: str
    null: bool | None = None
    control: bool | None = None
    beside: str = ""


def unmeasured(claim: str, source: str, rule: str, why: str = "This was not measured.") -> Claim:
    """A claim that nothing can be said of."""
    return Claim(claim=claim, source=source, rule=rule, verdict="not comparable", evidence=why)


def between(ends: Sequence[float] | None) -> str:
    """An interval in words."""
    return "" if ends is None else f" (95% {ends[0]:.2f} to {ends[1]:.2f})"
