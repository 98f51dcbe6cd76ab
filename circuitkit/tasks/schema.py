"""What a task file may hold. Unknown keys are refused, so that a typing mistake is never ignored."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from circuitkit.tasks.rules import (
    AnotherRow,
    CopySlots,
    OtherRowsWords,
    RandomElements,
    Redraw,
    SetSlots,
    Shift,
    ShuffleWords,
)
from circuitkit.tasks.toml_part import KindName, Part, SlotName, Text


class Source(Part):
    """Where words or templates come from, and their licence."""

    what: Text
    origin: Text
    licence: Text


class TemplateText(Part):
    """A prompt without its answer; `{slot}` stands for a slot's value, `{{` and `}}` for braces."""

    name: Text
    text: Text


class ListSlot(Part):
    """A word drawn evenly from a list; slots of one list never hold the same word in one prompt."""

    list: Text


class IntegerSlot(Part):
    """A whole number drawn evenly from low..high (both included), zero-padded to `digits`.

    `above` and `at_most` name an earlier integer slot that it lies above, or does not exceed.
    """

    low: int
    high: int
    digits: int = Field(default=1, ge=1, le=12)
    above: SlotName | None = None
    at_most: SlotName | None = None


class Sequence(Part):
    """Slots filled with consecutive elements of a list.

    `starts` are the places, counted from 1, of the element that the first slot may hold.
    """

    list: Text
    slots: tuple[SlotName, ...] = Field(min_length=2, strict=False)
    starts: tuple[int, ...] = Field(min_length=1, strict=False)


class Table(Part):
    """Slots filled from the rows of a CSV file.

    Every column is a slot, and so is every entry of the `literal` columns, which hold Python dictionaries.
    `{distractor}` is the `answer` of another row that agrees in the column `distractor_same`.
    """

    file: Text
    literal: tuple[Text, ...] = Field(default=(), strict=False)
    answer: SlotName
    distractor_same: SlotName | None = None


class Answers(Part):
    """The right continuation and the distractor, written with slots, leading space included."""

    correct: Text
    incorrect: Text


class Label(Part):
    """The mention of a slot in the prompt (counted from 1) whose place a label names."""

    slot: SlotName
    mention: int = Field(default=1, ge=1)


def _slot_kind(value: object) -> str:
    """Which kind of slot a table means, so that an error is about the kind that its author had in mind."""
    if isinstance(value, dict):
        return "list" if "list" in value else "number"
    return "number" if isinstance(value, IntegerSlot) else "list"


Slot = Annotated[Annotated[ListSlot, Tag("list")] | Annotated[IntegerSlot, Tag("number")], Discriminator(_slot_kind)]
Corruption = Annotated[Redraw | RandomElements | SetSlots | AnotherRow, Field(discriminator="kind")]
Counterfactual = Annotated[
    Redraw | RandomElements | SetSlots | CopySlots | Shift | AnotherRow | ShuffleWords | OtherRowsWords,
    Field(discriminator="kind"),
]


class TaskDefinition(Part):
    """A whole task file."""

    version: Literal[1]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    title: Text
    citation: Text
    positional: bool = True
    sources: tuple[Source, ...] = Field(default=(), strict=False)
    templates: tuple[TemplateText, ...] = Field(min_length=1, strict=False)
    slots: dict[SlotName, Slot] = Field(default_factory=dict)
    sequence: Sequence | None = None
    table: Table | None = None
    answers: Answers
    labels: dict[str, Label] = Field(default_factory=dict)
    corruption: Corruption | None = None
    counterfactuals: dict[KindName, Counterfactual] = Field(default_factory=dict)
    lists: dict[str, Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]] = Field(default_factory=dict)
