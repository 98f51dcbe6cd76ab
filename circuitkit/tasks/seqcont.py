"""The released prompts of Lan et al. 2024 as JSON lines (`text`, `corr`, `incorr`, `S1`..`S4`)."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import cast

from circuitkit.core.errors import TaskError
from circuitkit.tasks.prompt import END, UNNAMED, PromptPair, Span, last_word
from circuitkit.tasks.rows import Fields, check_answers, text_field, unique

Objects = Sequence[tuple[str, Fields]]


def is_seqcont(fields: Fields) -> bool:
    """Whether a row is of this schema."""
    return "text" in fields and "corr" in fields and "incorr" in fields


def read_seqcont(clean: Objects, corrupted: Objects | None) -> tuple[PromptPair, ...]:
    """Pairs of clean and corrupted prompts, joined by `clean_id`.

    A clean prompt that no corrupted one names gets the next corrupted prompt of its template, in order.

    Raises:
        TaskError: A row is wrong, or a template has clean prompts and no corrupted one.
    """
    if corrupted is None:
        return unique((where, _pair(where, fields, None)) for where, fields in clean)
    partners: dict[str, tuple[str, Fields]] = {}
    by_template: dict[str, list[tuple[str, Fields]]] = defaultdict(list)
    for where, fields in corrupted:
        partners.setdefault(text_field(where, fields, "clean_id"), (where, fields))
        by_template[text_field(where, fields, "template")].append((where, fields))
    spare = {template: cycle(rows) for template, rows in by_template.items()}

    def partner(where: str, fields: Fields) -> tuple[str, Fields]:
        named = partners.get(str(fields.get("id")))
        if named is not None:
            return named
        template = text_field(where, fields, "template")
        if template not in spare:
            raise TaskError(f"{where} has the template {template!r}, which has no corrupted prompt; add one.")
        return next(spare[template])

    return unique((where, _pair(where, fields, partner(where, fields))) for where, fields in clean)


def _pair(where: str, fields: Fields, partner: tuple[str, Fields] | None) -> PromptPair:
    clean, correct, incorrect = (text_field(where, fields, key) for key in ("text", "corr", "incorr"))
    check_answers(where, correct, incorrect)
    corrupted = None if partner is None else text_field(*partner, "text")
    return PromptPair(
        clean=clean,
        corrupted=corrupted,
        correct=correct,
        incorrect=incorrect,
        template=text_field(where, fields, "template") if "template" in fields else UNNAMED,
        labels=_labels(where, fields, clean),
        corrupted_labels={} if partner is None or corrupted is None else _labels(*partner, corrupted),
    )


def _labels(where: str, fields: Fields, text: str) -> Mapping[str, Span]:
    """Spans of the four elements. Each ends a sentence, which tells the month April from the name."""
    given = fields.get("text_seq")
    elements = (
        [str(element) for element in cast("list[object]", given)]
        if isinstance(given, list)
        else [text_field(where, fields, f"S{i}") for i in range(1, 5)]
    )
    found: dict[str, Span] = {}
    place = 0
    for number, element in enumerate(elements, 1):
        match = re.compile(rf"\b{re.escape(element)}(?=\.)").search(text, place)
        if match is None:
            raise TaskError(f"{where}: element {element!r} ends no sentence of {text!r}; mend S{number} or the text.")
        found[f"n{number}"] = match.span()
        place = match.end()
    return {**found, END: last_word(text)}
