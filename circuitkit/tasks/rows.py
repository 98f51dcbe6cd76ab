"""Prompts that are written out, one JSON object a line."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from circuitkit.core.errors import TaskError
from circuitkit.tasks.drawing import pick_order
from circuitkit.tasks.prompt import END, UNNAMED, Counterfactual, PromptPair, Span, last_word
from circuitkit.tasks.task import Alike
from circuitkit.tasks.toml_part import KIND_NAME

Fields = Mapping[str, object]

_REQUIRED = ("clean", "correct", "incorrect")
_OPTIONAL = ("corrupted", "counterfactuals", "template", "labels", "corrupted_labels", "id")
"""The `id` is the user's own and is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """Written pairs. A part of them is a random one that the seed decides; the order stays that of the file.

    Attributes:
        rows: All pairs, in the order of the file.
    """

    rows: tuple[PromptPair, ...]

    @property
    def size(self) -> int:
        """How many pairs there are."""
        return len(self.rows)

    @property
    def redraws(self) -> bool:
        """The corrupted prompts are written down too."""
        return False

    def numbers(self, n: int, *, seed: int) -> Sequence[int]:
        """Rows for n prompts: all, or a random part, which for a smaller n is contained in that for a larger one."""
        return sorted(pick_order(seed, len(self.rows), "rows")[:n])

    def pair(self, index: int, *, seed: int, attempt: int, alike: Alike | None = None) -> PromptPair:
        """The pair of one row of the file."""
        return self.rows[index]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every kind that any row has, in the order in which they come up."""
        return tuple(dict.fromkeys(kind for pair in self.rows for kind in pair.counterfactuals))

    def varies(self, kind: str) -> bool:
        """They are written down."""
        return False

    def counterfactual(
        self, index: int, kind: str, *, seed: int, attempt: int, alike: Alike | None = None
    ) -> Counterfactual | None:
        """The row's own; nothing says where its labels are, but END is its last word."""
        text = self.rows[index].counterfactuals.get(kind)
        return None if text is None else Counterfactual(text=text, labels={END: last_word(text)})


def read_objects(data: bytes, *, name: str) -> list[tuple[str, Fields]]:
    """The objects of a file of JSON lines, each with its place for errors; empty lines are passed over.

    Raises:
        TaskError: The file is no text, holds no rows, or a line is no JSON object.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{name} is not a text file (byte {error.start} is not UTF-8); wanted one JSON object a line."
        ) from error
    found = [(f"{name} line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not found:
        raise TaskError(f"{name} has no rows; wanted one JSON object a line with {', '.join(_REQUIRED)}.")
    return [(where, _object(where, line)) for where, line in found]


def _object(where: str, line: str) -> Fields:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        shown = line if len(line) <= 40 else line[:37] + "..."
        raise TaskError(f"{where} is not JSON ({shown!r}); wanted one JSON object a line. Mend it.") from error
    if not isinstance(value, dict):
        raise TaskError(f"{where} is a JSON {type(value).__name__}; wanted an object with {', '.join(_REQUIRED)}.")
    return cast("Fields", value)


def read_pairs(objects: Sequence[tuple[str, Fields]]) -> tuple[PromptPair, ...]:
    """The pairs of rows with `clean`, `correct`, `incorrect` and the optional fields.

    Raises:
        TaskError: A row is wrong or repeats another; the error names its line.
    """
    return unique(((where, _pair(where, fields)) for where, fields in objects))


def unique(pairs: Iterator[tuple[str, PromptPair]]) -> tuple[PromptPair, ...]:
    """The pairs, after a check that no two have the same prompt and answers.

    Raises:
        TaskError: Two do.
    """
    seen: dict[tuple[str, str, str], str] = {}
    kept: list[PromptPair] = []
    for where, pair in pairs:
        key = (pair.clean, pair.correct, pair.incorrect)
        if key in seen:
            raise TaskError(
                f"{where} repeats the prompt and answers of {seen[key]}; wanted each once. Delete one of them."
            )
        seen[key] = where
        kept.append(pair)
    return tuple(kept)


def text_field(where: str, fields: Fields, key: str) -> str:
    """A field that must be a string with something in it.

    Raises:
        TaskError: It is not.
    """
    if key not in fields:
        raise TaskError(f"{where} has no {key!r}; it has {', '.join(map(repr, fields)) or 'nothing'}. Add the field.")
    value = fields[key]
    if not isinstance(value, str):
        raise TaskError(f"{where}: {key!r} is {json.dumps(value)[:40]}; wanted a string. Put it in quotes.")
    if not value.strip():
        raise TaskError(f"{where}: {key!r} is empty; wanted some text. Fill it or delete the row.")
    if any(0xD800 <= ord(char) <= 0xDFFF for char in value):
        raise TaskError(f"{where}: {key!r} holds half of a surrogate pair; wanted valid Unicode. Mend the escape.")
    return value


def check_answers(where: str, correct: str, incorrect: str) -> None:
    """Check that two answers can be told apart.

    Raises:
        TaskError: They are the same.
    """
    if correct == incorrect:
        raise TaskError(f"{where}: 'correct' and 'incorrect' are both {correct!r}; wanted two answers. Change one.")


def _pair(where: str, fields: Fields) -> PromptPair:
    if unknown := sorted(set(fields) - {*_REQUIRED, *_OPTIONAL}):
        raise TaskError(
            f"{where} has the field {unknown[0]!r}; wanted {', '.join(_REQUIRED)} and perhaps "
            f"{', '.join(_OPTIONAL)}. Rename or delete it."
        )
    clean, correct, incorrect = (text_field(where, fields, key) for key in _REQUIRED)
    corrupted = None if fields.get("corrupted") is None else text_field(where, fields, "corrupted")
    check_answers(where, correct, incorrect)
    if corrupted == clean:
        raise TaskError(f"{where}: 'corrupted' is the same as 'clean'; wanted another prompt. Change or delete it.")
    return PromptPair(
        clean=clean,
        corrupted=corrupted,
        correct=correct,
        incorrect=incorrect,
        template=text_field(where, fields, "template") if "template" in fields else UNNAMED,
        labels={**_labels(where, fields, "labels", clean), END: last_word(clean)},
        corrupted_labels=(
            {}
            if corrupted is None
            else {**_labels(where, fields, "corrupted_labels", corrupted), END: last_word(corrupted)}
        ),
        **({"counterfactuals": found} if (found := _counterfactuals(where, fields, clean)) else {}),
    )


def _counterfactuals(where: str, fields: Fields, clean: str) -> dict[str, str]:
    value = fields.get("counterfactuals", {})
    if not isinstance(value, dict):
        raise TaskError(f"{where}: 'counterfactuals' is no object; wanted names of kinds, each with a prompt.")
    kinds = cast("dict[str, object]", value)
    for kind in kinds:
        if not re.fullmatch(KIND_NAME, kind):
            raise TaskError(
                f"{where}: a counterfactual kind is called {kind[:40]!r}; wanted letters, digits, - and _, a letter "
                "first. Rename it."
            )
        if text_field(f"{where}: counterfactuals", kinds, kind) == clean:
            raise TaskError(
                f"{where}: the counterfactual {kind!r} is the same as 'clean'; wanted another prompt. Change or "
                "delete it."
            )
    return {kind: text_field(where, kinds, kind) for kind in kinds}


def _labels(where: str, fields: Fields, key: str, text: str) -> dict[str, Span]:
    value = fields.get(key, {})
    if not isinstance(value, dict):
        raise TaskError(f"{where}: {key!r} is no object; wanted label names with [start, end] in characters.")
    found: dict[str, Span] = {}
    for name, span in cast("dict[str, object]", value).items():
        match span:
            case [int() as start, int() as end] if 0 <= start < end <= len(text) and text[start:end].strip():
                found[name] = (start, end)
            case _:
                raise TaskError(
                    f"{where}: label {name!r} is {json.dumps(span)[:40]}; wanted [start, end] with "
                    f"0 <= start < end <= {len(text)}, around some text. Count characters of the prompt."
                )
    return found
