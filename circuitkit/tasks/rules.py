"""The closed set of rules by which a task file says how a prompt is changed."""

from typing import Literal

from pydantic import Field

from circuitkit.tasks.toml_part import Part, SlotName


class Redraw(Part):
    """Slots drawn anew, avoiding every word that the clean prompt holds (of a number, its own value).

    With `separate` mentions each mention in the prompt gets a word of its own (ABC instead of ABB). `mention`
    changes that mention alone (counted from 1) and leaves the others as they are.
    """

    kind: Literal["redraw"]
    slots: tuple[SlotName, ...] = Field(min_length=1, strict=False)
    mentions: Literal["together", "separate"] = "together"
    mention: int | None = Field(default=None, ge=1)


class RandomElements(Part):
    """Slots of the sequence get random elements, drawn until the last does not follow the one before it.

    The one before a single slot is what the clean prompt holds there.
    """

    kind: Literal["random-elements"]
    slots: tuple[SlotName, ...] = Field(min_length=1, strict=False)


class SetSlots(Part):
    """Slots get fixed values."""

    kind: Literal["set"]
    values: dict[SlotName, str] = Field(min_length=1)


class Copied(Part):
    """A mention of a slot (counted from 1) that gets what the slot `from` holds in the clean prompt."""

    slot: SlotName
    mention: int = Field(default=1, ge=1)
    source: SlotName = Field(alias="from")


class CopySlots(Part):
    """Single mentions of slots get what other slots hold in the clean prompt."""

    kind: Literal["copy"]
    changes: tuple[Copied, ...] = Field(min_length=1, strict=False)


class Shift(Part):
    """The sequence starts at another of its `starts`, and so goes on elsewhere."""

    kind: Literal["shift"]


class AnotherRow(Part):
    """The prompt of another row of the table, with another answer, that agrees in the column `same`."""

    kind: Literal["another-row"]
    same: SlotName | None = None


class ShuffleWords(Part):
    """The words of a slot in another order; the last stays, because the punctuation is with it."""

    kind: Literal["shuffle-words"]
    slot: SlotName


class OtherRowsWords(Part):
    """The first or last `n` words of a slot are those of another row of the table."""

    kind: Literal["words-of-another-row"]
    slot: SlotName
    words: Literal["first", "last"]
    n: int = Field(default=1, ge=1)
