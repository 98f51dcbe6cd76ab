"""Prompts that are filled from the rows of a CSV file."""

import ast
import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from random import Random
from typing import cast

from circuitkit.core.errors import TaskError
from circuitkit.tasks.drawing import pick_order, stream
from circuitkit.tasks.generator import label_spans
from circuitkit.tasks.prompt import Counterfactual, PromptPair
from circuitkit.tasks.row_changes import draw_words, shuffle_words
from circuitkit.tasks.rules import AnotherRow, OtherRowsWords, ShuffleWords
from circuitkit.tasks.schema import Table, TaskDefinition
from circuitkit.tasks.task import Alike
from circuitkit.tasks.template import Template, parse_template

Row = Mapping[str, str]
DISTRACTOR = "distractor"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSource:
    """One prompt a row and template, in a random order that the seed decides.

    Attributes:
        definition: The task; it has a table.
        templates: Its templates.
        rows: Slot values of every row.
        rivals: The column in which a row and its distractor's row agree; None: any row will do.
        strangers: The column in which a row and the row that corrupts it agree; None: any row will do.
        groups: For each such column and value, the rows that hold it.
        correct: Template of the right answer.
        incorrect: Template of the distractor.
    """

    definition: TaskDefinition
    templates: tuple[Template, ...]
    rows: tuple[Row, ...]
    rivals: str | None
    strangers: str | None
    groups: Mapping[tuple[str | None, str], Sequence[int]]
    correct: Template
    incorrect: Template

    @property
    def size(self) -> int:
        """Rows times templates."""
        return len(self.rows) * len(self.templates)

    @property
    def redraws(self) -> bool:
        """Another row can be drawn."""
        return self.definition.corruption is not None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The counterfactual kinds of the definition."""
        return tuple(self.definition.counterfactuals)

    def varies(self, kind: str) -> bool:
        """Another row or another order of words can always be drawn."""
        return True

    def numbers(self, n: int, *, seed: int) -> range:
        """Counted from 0, in the random order of the rows that the seed decides."""
        return range(min(n, self.size))

    def pair(self, index: int, *, seed: int, attempt: int, alike: Alike | None = None) -> PromptPair:
        """The pair of one number."""
        number, template = self._drawn(index, seed)
        clean, spans = template.fill(self.rows[number])
        values = dict(self.rows[number])
        if _uses_distractor(self.correct, self.incorrect):
            values[DISTRACTOR] = self._answer(self._other(number, self.rivals, stream(seed, index, "clean")))
        corrupted, corrupted_labels = None, {}
        if self.definition.corruption is not None:
            other = self._other(number, self.strangers, stream(seed, index, f"corrupted/{attempt}"))
            corrupted, other_spans = template.fill(self.rows[other])
            corrupted_labels = label_spans(self.definition.labels, other_spans, corrupted)
        return PromptPair(
            clean=clean,
            corrupted=corrupted,
            correct=self.correct.fill(values)[0],
            incorrect=self.incorrect.fill(values)[0],
            template=template.name,
            labels=label_spans(self.definition.labels, spans, clean),
            corrupted_labels=corrupted_labels,
        )

    def counterfactual(
        self, index: int, kind: str, *, seed: int, attempt: int, alike: Alike | None = None
    ) -> Counterfactual:
        """The clean prompt of one number, changed by one kind."""
        number, template = self._drawn(index, seed)
        rule = self.definition.counterfactuals[kind]
        rng = stream(seed, index, f"counterfactual/{kind}/{attempt}")
        values = dict(self.rows[number])
        match rule:
            case AnotherRow():
                slots = {slot for slot, _ in template.mentions}
                values = self.rows[self._other(number, rule.same, rng, slots=slots, alike=alike)]
            case ShuffleWords():
                values[rule.slot] = shuffle_words(values[rule.slot], rng)
            case OtherRowsWords():
                others = [row[rule.slot] for row in self.rows]
                values[rule.slot] = draw_words(values[rule.slot], others, rng, rule=rule, alike=alike)
            case _:
                raise AssertionError(f"{rule!r} does not change rows")
        text, spans = template.fill(values)
        return Counterfactual(text=text, labels=label_spans(self.definition.labels, spans, text))

    def _drawn(self, index: int, seed: int) -> tuple[int, Template]:
        """The row and the template of one number."""
        place = pick_order(seed, self.size, "rows")[index]
        return place % len(self.rows), self.templates[place // len(self.rows)]

    def _answer(self, row: int) -> str:
        assert self.definition.table is not None
        return self.rows[row][self.definition.table.answer]

    def _other(
        self, row: int, same: str | None, rng: Random, *, slots: Set[str] = frozenset(), alike: Alike | None = None
    ) -> int:
        """A row of the same group with another answer, whose `slots` may well stand in for its own if any do."""
        own = self.rows[row]
        members = self.groups[same, _value(own, same)]
        others = [other for other in members if self._answer(other) != self._answer(row)]
        if alike is not None:
            fitting = [n for n in others if all(alike(own[slot], self.rows[n][slot]) for slot in slots)]
            others = fitting or others
        return rng.choice(others)


def table_source(definition: TaskDefinition, data: bytes, *, name: str) -> TableSource:
    """The prompts of a definition with a table.

    Args:
        definition: The task, checked.
        data: The CSV file's bytes.
        name: What to call the file in errors.

    Raises:
        TaskError: The file is not UTF-8 CSV with the columns that the task needs, a row is broken or repeated, or
            a group of rows has one answer only.
    """
    assert definition.table is not None
    templates = tuple(parse_template(t.name, t.text) for t in definition.templates)
    correct = parse_template("answers.correct", definition.answers.correct)
    incorrect = parse_template("answers.incorrect", definition.answers.incorrect)
    answer, rivals = definition.table.answer, definition.table.distractor_same
    strangers = definition.corruption.same if isinstance(definition.corruption, AnotherRow) else None
    others = {rule.same for rule in definition.counterfactuals.values() if isinstance(rule, AnotherRow)} | {strangers}
    rows = _read_rows(definition.table, data, name)
    used = {slot for part in (*templates, correct, incorrect) for slot, _ in part.mentions} - {DISTRACTOR}
    for column in sorted({*used, answer, *(c for c in (rivals, *others) if c is not None)}):
        _check_column(rows, column, name)
    _check_unique(rows, sorted({slot for part in templates for slot, _ in part.mentions}), name)
    groups: dict[tuple[str | None, str], list[int]] = {}
    if _uses_distractor(correct, incorrect):
        groups |= _groups(rows, rivals, answer, name)
    changes = (definition.corruption, *definition.counterfactuals.values())
    for same in {rule.same for rule in changes if isinstance(rule, AnotherRow)}:
        groups |= _groups(rows, same, answer, name)
    return TableSource(
        definition=definition,
        templates=templates,
        rows=tuple(rows.values()),
        rivals=rivals,
        strangers=strangers,
        groups=groups,
        correct=correct,
        incorrect=incorrect,
    )


def _uses_distractor(*answers: Template) -> bool:
    return any(slot == DISTRACTOR for part in answers for slot, _ in part.mentions)


def _value(row: Row, column: str | None) -> str:
    return "" if column is None else row[column]


def _read_rows(table: Table, data: bytes, name: str) -> dict[int, Row]:
    """Slot values of every row, by line number."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(f"{name} is not a text file (byte {error.start} is not UTF-8); wanted UTF-8 CSV.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: dict[int, Row] = {}
    try:
        for raw in reader:
            rows[reader.line_num] = _slots(table, raw, f"{name} line {reader.line_num}")
    except csv.Error as error:
        raise TaskError(f"{name} line {reader.line_num} is not CSV ({error}); mend the quotes there.") from error
    if len(rows) < 2:
        raise TaskError(f"{name} has {len(rows)} rows; wanted a header and at least 2 rows.")
    return rows


def _slots(table: Table, raw: Mapping[str | None, object], where: str) -> Row:
    if None in raw or any(value is None for value in raw.values()):
        raise TaskError(f"{where} has more or fewer fields than the header; mend the commas and quotes there.")
    values = {str(key): str(value) for key, value in raw.items()}
    for column in table.literal:
        if column not in values:
            raise TaskError(f"{where} has no column {column!r}; it has {', '.join(values)}. Rename the columns.")
        try:
            entries = ast.literal_eval(values[column])
        except (ValueError, SyntaxError) as error:
            raise TaskError(f"{where}: column {column!r} does not hold a Python dictionary; mend it.") from error
        if not isinstance(entries, dict):
            raise TaskError(f"{where}: column {column!r} does not hold a Python dictionary; mend it.")
        values |= {str(key): str(value) for key, value in cast("dict[object, object]", entries).items()}
    return values


def _check_column(rows: Mapping[int, Row], column: str, name: str) -> None:
    for line, row in rows.items():
        if column not in row:
            raise TaskError(f"{name} line {line} has no {column!r}; it has {', '.join(row)}. Add the column.")
        if not row[column].strip():
            raise TaskError(f"{name} line {line} has an empty {column!r}; fill it or delete the row.")


def _check_unique(rows: Mapping[int, Row], columns: Sequence[str], name: str) -> None:
    seen: dict[tuple[str, ...], int] = {}
    for line, row in rows.items():
        key = tuple(row[column] for column in columns)
        if key in seen:
            raise TaskError(f"{name} line {line} repeats line {seen[key]}; delete one of them.")
        seen[key] = line


def _groups(
    rows: Mapping[int, Row], same: str | None, answer: str, name: str
) -> dict[tuple[str | None, str], list[int]]:
    """The rows that agree in one column, each of them with at least two different answers."""
    groups: dict[tuple[str | None, str], list[int]] = defaultdict(list)
    for number, row in enumerate(rows.values()):
        groups[same, _value(row, same)].append(number)
    lines, answers = list(rows), [row[answer] for row in rows.values()]
    for (_, value), members in groups.items():
        if len({answers[member] for member in members}) < 2:
            shared = "" if same is None else f" with {same} = {value!r}"
            raise TaskError(
                f"{name} line {lines[members[0]]}: all rows{shared} have the answer {answers[members[0]]!r}; "
                f"wanted at least two answers to draw another from. Add such a row or delete this one."
            )
    return groups
