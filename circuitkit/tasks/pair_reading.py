"""Both prompts of a pair as one model reads them."""

from dataclasses import dataclass

from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.reading import PromptReader, Reading, Unusable


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReader:
    """Reads pairs and says which of them can be used.

    Attributes:
        prompts: Reads single prompts.
        need_corrupted: Whether a pair is of no use without its corrupted prompt.
        equal: Whether partners must have equal length and their labels at equal positions.
    """

    prompts: PromptReader
    need_corrupted: bool
    equal: bool

    def read(self, pair: PromptPair) -> tuple[Reading, Reading | None] | Unusable:
        """The clean and, if it is needed, the corrupted prompt as tokens; or why they cannot be used."""
        clean = self._clean(pair)
        if isinstance(clean, Unusable):
            return clean
        if not self.need_corrupted:
            return clean, None
        corrupted = self._corrupted(pair, clean)
        return corrupted if isinstance(corrupted, Unusable) else (clean, corrupted)

    def fits(self, pair: PromptPair) -> bool:
        """Whether no other corrupted prompt need be drawn: this one can be used, or the clean one cannot."""
        clean = self._clean(pair)
        return isinstance(clean, Unusable) or not isinstance(self._corrupted(pair, clean), Unusable)

    def _clean(self, pair: PromptPair) -> Reading | Unusable:
        return self.prompts.read(pair.clean, correct=pair.correct, incorrect=pair.incorrect, labels=pair.labels)

    def _corrupted(self, pair: PromptPair, clean: Reading) -> Reading | Unusable:
        if pair.corrupted is None:
            return Unusable("it has no corrupted prompt, which only the ablations mean and zero can do without")
        found = self.prompts.read(
            pair.corrupted, correct=pair.correct, incorrect=pair.incorrect, labels=pair.corrupted_labels
        )
        if isinstance(found, Unusable):
            return Unusable(f"corrupted prompt: {found.reason}")
        if (clean.correct_id, clean.incorrect_id) != (found.correct_id, found.incorrect_id):
            return Unusable("the answers are other tokens after the corrupted prompt")
        if self.equal and len(clean.ids) != len(found.ids):
            return Unusable("no corrupted prompt with as many tokens was found")
        if self.equal and clean.labels != found.labels:
            return Unusable("no corrupted prompt with its labels at the same positions was found")
        return found
