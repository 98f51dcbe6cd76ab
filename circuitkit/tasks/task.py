"""A task: a numbered, seeded supply of prompt pairs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from circuitkit.core.errors import TaskError
from circuitkit.tasks.prompt import Counterfactual, PromptPair

MAX_REDRAWS = 64

Alike = Callable[[str, str], bool]
"""Whether a word may well stand in for another because it has as many tokens."""


@runtime_checkable
class PairSource(Protocol):
    """Where a task's prompt pairs come from."""

    @property
    def size(self) -> int | None:
        """How many different prompts there are; None where they are drawn without end."""
        ...

    def numbers(self, n: int, *, seed: int) -> Sequence[int]:
        """Which pairs make up n prompts; fewer where there are fewer."""
        ...

    def pair(self, index: int, *, seed: int, attempt: int, alike: Alike | None = None) -> PromptPair:
        """The pair of one number; `attempt` and `alike` change nothing but the corrupted side."""
        ...

    @property
    def redraws(self) -> bool:
        """Whether another attempt can give another corrupted prompt."""
        ...


@runtime_checkable
class CounterfactualSource(Protocol):
    """A source that can also change its clean prompts in ways that have names."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of change that there are, in the order of the file."""
        ...

    def varies(self, kind: str) -> bool:
        """Whether another attempt can give another prompt."""
        ...

    def counterfactual(
        self, index: int, kind: str, *, seed: int, attempt: int, alike: Alike | None = None
    ) -> Counterfactual | None:
        """The clean prompt of one number, changed; None where a written pair lacks the kind."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task that models are measured on.

    Attributes:
        name: What it is called on the command line and in results.
        title: One line for people.
        citation: The paper that it is from; empty for a user's own prompts.
        sha256: Hash of the task's definition and data, in hexadecimal.
        positional: Whether a position means the same thing in all prompts of a template and length.
        source: Where its prompt pairs come from.
        written: Whether the pairs were written out by a user. Where partners differ in length, written prompts
            are kept and their positions pooled; generated ones are drawn anew, and dropped if that fails.
        data: The file that took the place of its own table, as typed; None where there was none.
    """

    name: str
    title: str
    citation: str
    sha256: str
    positional: bool
    source: PairSource
    written: bool = False
    data: str | None = None

    def pairs(
        self,
        n: int,
        *,
        seed: int = 0,
        fits: Callable[[PromptPair], bool] | None = None,
        alike: Alike | None = None,
    ) -> list[PromptPair]:
        """The first n prompt pairs.

        Prompt i depends on (seed, i) only, so the pairs for a smaller n are among those for a larger one, and its
        beginning where they are drawn. A finite task gives all that it has where n is more.

        Args:
            n: How many.
            seed: Another seed gives other prompts.
            fits: The corrupted prompt is drawn anew, up to 64 times, until this accepts the pair; if it never
                does, the first one is kept.
            alike: Narrows the words of those new draws to ones that are likely to fit: without it, three names
                that must each have as many tokens as another are rarely found.

        Raises:
            TaskError: n is not positive.
        """
        return list(self.draw(n, seed=seed, fits=fits, alike=alike))

    def draw(
        self,
        n: int,
        *,
        seed: int = 0,
        fits: Callable[[PromptPair], bool] | None = None,
        alike: Alike | None = None,
    ) -> Iterator[PromptPair]:
        """The pairs of `pairs`, each made when it is asked for.

        Raises:
            TaskError: n is not positive.
        """
        if n < 1:
            raise TaskError(f"{n} prompts were asked for; wanted at least 1. Raise the number of prompts.")
        return (self._fitting(i, seed, fits, alike) for i in self.source.numbers(n, seed=seed))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of counterfactual prompt that the task names."""
        return self.source.kinds if isinstance(self.source, CounterfactualSource) else ()

    def counterfactuals(
        self, number: int, kind: str, *, seed: int = 0, alike: Alike | None = None
    ) -> Iterator[Counterfactual]:
        """Draws of one clean prompt changed by one kind, up to 65 that depend on (seed, number, kind) only.

        Drawing them changes no clean or corrupted prompt.

        Args:
            number: The pair's number, one of `source.numbers`.
            kind: One of `kinds`.
            seed: The seed of the clean prompt.
            alike: Narrows the words of all draws but the first to ones that are likely to fit.
        """
        source = self.source
        assert isinstance(source, CounterfactualSource), "a task without kinds is asked for none"
        for attempt in range(1 + MAX_REDRAWS if source.varies(kind) else 1):
            found = source.counterfactual(number, kind, seed=seed, attempt=attempt, alike=alike if attempt else None)
            if found is not None:
                yield found

    def example(self, kind: str, *, seed: int = 0) -> tuple[str, str]:
        """The first clean prompt that has a kind, and what the kind makes of it."""
        numbers = self.source.numbers(self.source.size or 1, seed=seed)
        found = ((number, next(self.counterfactuals(number, kind, seed=seed), None)) for number in numbers)
        number, changed = next((number, text) for number, text in found if text is not None)
        return self.source.pair(number, seed=seed, attempt=0).clean, changed.text

    def size(self, n: int, *, seed: int = 0) -> int:
        """How many pairs there are where n are asked for."""
        return len(self.source.numbers(n, seed=seed))

    def _fitting(
        self, index: int, seed: int, fits: Callable[[PromptPair], bool] | None, alike: Alike | None
    ) -> PromptPair:
        first = self.source.pair(index, seed=seed, attempt=0)
        if fits is None or fits(first) or not self.source.redraws:
            return first
        for attempt in range(1, MAX_REDRAWS + 1):
            pair = self.source.pair(index, seed=seed, attempt=attempt, alike=alike)
            if fits(pair):
                return pair
        return first
