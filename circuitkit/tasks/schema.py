"""What a task file may hold. Unknown keys are refused, so that a typing mistake is never ignored."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

Text = Annotated[str, StringConstraints(min_length=1)]
SlotName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Part(BaseModel):
    """Base of every table in a task file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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


class Redraw(Part):
    """Slots drawn anew from their lists, avoiding every word that the clean prompt holds from those lists.

    With `separate` mentions each mention in the prompt gets a word of its own (ABC instead of ABB).
    """

    kind: Literal["redraw"]
    slots: tuple[SlotName, ...] = Field(min_length=1, strict=False)
    mentions: Literal["together", "separate"] = "together"


class RandomElements(Part):
    """Slots of the sequence get random elements, drawn until the last does not follow the one before it."""

    kind: Literal["random-elements"]
    slots: tuple[SlotName, ...] = Field(min_length=2, strict=False)


class SetSlots(Part):
    """Slots get fixed values."""

    kind: Literal["set"]
    values: dict[SlotName, str] = Field(min_length=1)


class AnotherRow(Part):
    """The prompt of another row of the table that agrees in the column `same`."""

    kind: Literal["another-row"]
    same: SlotName | None = None


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
    lists: dict[str, Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]] = Field(default_factory=dict)
