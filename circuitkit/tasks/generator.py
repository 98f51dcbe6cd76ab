"""Prompts that are filled from slots: word lists, numbers and sequences."""

from collections.abc import Mapping
from dataclasses import dataclass

from circuitkit.tasks.changes import change, varies
from circuitkit.tasks.drawing import draw_slots, pick_order, stream
from circuitkit.tasks.prompt import END, Counterfactual, PromptPair, Span, last_word
from circuitkit.tasks.schema import Label, TaskDefinition
from circuitkit.tasks.task import Alike
from circuitkit.tasks.template import Mention, Template, parse_template


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSource:
    """Draws prompts without end from a definition that was checked.

    Attributes:
        definition: The task.
        templates: Its templates; prompts go through them in turn, so that groups are of equal size.
        correct: Template of the right answer.
        incorrect: Template of the distractor.
    """

    definition: TaskDefinition
    templates: tuple[Template, ...]
    correct: Template
    incorrect: Template

    @property
    def size(self) -> None:
        """There is no end of prompts."""
        return None

    @property
    def redraws(self) -> bool:
        """Fixed values stay what they are."""
        return varies(self.definition.corruption)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The counterfactual kinds of the definition."""
        return tuple(self.definition.counterfactuals)

    def varies(self, kind: str) -> bool:
        """Fixed and copied values stay what they are."""
        return varies(self.definition.counterfactuals[kind])

    def numbers(self, n: int, *, seed: int) -> range:
        """Counted from 0."""
        return range(n)

    def pair(self, index: int, *, seed: int, attempt: int, alike: Alike | None = None) -> PromptPair:
        """The pair of one number."""
        template, values = self._drawn(index, seed)
        clean, spans = template.fill(values)
        corrupted = None
        corrupted_spans: dict[Mention, Span] = {}
        if self.definition.corruption is not None:
            rng = stream(seed, index, f"corrupted/{attempt}")
            changed = change(self.definition.corruption, self.definition, template, values, rng, alike=alike)
            corrupted, corrupted_spans = template.fill(values, overrides=changed)
        return PromptPair(
            clean=clean,
            corrupted=corrupted,
            correct=self.correct.fill(values)[0],
            incorrect=self.incorrect.fill(values)[0],
            template=template.name,
            labels=label_spans(self.definition.labels, spans, clean),
            corrupted_labels=(
                {} if corrupted is None else label_spans(self.definition.labels, corrupted_spans, corrupted)
            ),
        )

    def counterfactual(
        self, index: int, kind: str, *, seed: int, attempt: int, alike: Alike | None = None
    ) -> Counterfactual:
        """The clean prompt of one number, changed by one kind."""
        template, values = self._drawn(index, seed)
        rng = stream(seed, index, f"counterfactual/{kind}/{attempt}")
        changed = change(self.definition.counterfactuals[kind], self.definition, template, values, rng, alike=alike)
        text, spans = template.fill(values, overrides=changed)
        return Counterfactual(text=text, labels=label_spans(self.definition.labels, spans, text))

    def _drawn(self, index: int, seed: int) -> tuple[Template, dict[str, str]]:
        """The template of one number and what its clean prompt holds."""
        order = pick_order(seed, len(self.templates), "templates")
        template = self.templates[order[index % len(order)]]
        used = [slot for part in (template, self.correct, self.incorrect) for slot, _ in part.mentions]
        return template, draw_slots(self.definition, used, stream(seed, index, "clean"))


def label_spans(labels: Mapping[str, Label], spans: Mapping[Mention, Span], text: str) -> dict[str, Span]:
    """Character span of every label, END included."""
    found = {name: spans[label.slot, label.mention] for name, label in labels.items()}
    return {**found, END: last_word(text)}


def slot_source(definition: TaskDefinition) -> SlotSource:
    """The prompts of a definition without a table."""
    return SlotSource(
        definition=definition,
        templates=tuple(parse_template(t.name, t.text) for t in definition.templates),
        correct=parse_template("answers.correct", definition.answers.correct),
        incorrect=parse_template("answers.incorrect", definition.answers.incorrect),
    )
