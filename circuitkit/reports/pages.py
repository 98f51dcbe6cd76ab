"""From a checked result to what a page's template needs."""

import shlex
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from circuitkit.reports.alignment_record import AlignmentRecord
from circuitkit.reports.attention import attention_examples
from circuitkit.reports.fingerprint_section import reaction_table, summaries
from circuitkit.reports.histogram import drop_histogram
from circuitkit.reports.key_figures import key_figures
from circuitkit.reports.maps import Figure, influence_map, top_of_scale
from circuitkit.reports.number_line import number_line
from circuitkit.reports.records import InfluenceRecord, TableRecord, read_record
from circuitkit.reports.verdict import alignment_verdict, influence_verdict, table_verdict
from circuitkit.reports.wiring import inherited, wiring

Context = dict[str, Any]


def alignment_page(result: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Context:
    """Context of `alignment.html.j2`.

    Raises:
        ResultError: The result lacks something that the report shows.
    """
    record = read_record(AlignmentRecord, result)
    section, figures = alignment_section(record, prefix="")
    examples = attention_examples(record, tensors)
    histogram = drop_histogram("drops", record)
    return {
        "title": f"{record.teacher.name} and {record.student.name} on {record.task.name}",
        "kicker": "Alignment of two models",
        **section,
        "histogram": histogram,
        "examples": examples,
        "figures": [figure.plain() for figure in (*figures, histogram)],
        "attention": [example.plain for example in examples],
        "models": (record.teacher, record.student),
        "provenance": provenance(result),
    }


def alignment_section(record: AlignmentRecord, *, prefix: str) -> tuple[Context, tuple[Figure, Figure]]:
    """What is shown of every alignment result, alone on a page or one of several tasks.

    Args:
        record: The result.
        prefix: Put before the identities of the figures, so that several results fit on one page.
    """
    top = top_of_scale(record.influence.teacher, record.influence.student)
    maps = (
        influence_map(f"{prefix}teacher-map", "teacher", record.influence.teacher, top=top),
        influence_map(f"{prefix}student-map", "student", record.influence.student, top=top),
    )
    before = record.controls.initialised_only
    context: Context = {
        "record": record,
        "verdict": alignment_verdict(record),
        "keys": key_figures(record),
        "line": number_line(record.alignment, initial=None if before is None else before.score),
        "top": top,
        "maps": maps,
        "wiring": wiring(record),
        "inherited": [inherited(pair, record) for pair in record.pairs],
        "reactions": None if record.fingerprint is None else reaction_table(record.fingerprint),
        "reacting": None if record.fingerprint is None else summaries(record.fingerprint),
    }
    return context, maps


def table_page(result: Mapping[str, Any]) -> Context:
    """Context of `table.html.j2`: several tasks of one pair of models.

    Raises:
        ResultError: A task's result lacks something that the report shows.
    """
    records = [read_record(AlignmentRecord, part) for part in read_record(TableRecord, result).tasks.values()]
    built = [alignment_section(record, prefix=f"task{index}-") for index, record in enumerate(records)]
    sections = [section for section, _ in built]
    first, first_result = sections[0]["record"], next(iter(result["tasks"].values()))
    return {
        "title": f"{first.teacher.name} and {first.student.name} on {len(sections)} tasks",
        "kicker": "Alignment of two models on several tasks",
        "verdict": table_verdict(records),
        "sections": sections,
        "any_f": any(record.fingerprint for record in records),
        "figures": [figure.plain() for _, maps in built for figure in maps],
        "attention": [],
        "models": (first.teacher, first.student),
        "provenance": provenance({**first_result, **result}),
    }


def influence_page(result: Mapping[str, Any]) -> Context:
    """Context of `influence.html.j2`.

    Raises:
        ResultError: The result lacks something that the report shows.
    """
    record = read_record(InfluenceRecord, result)
    top = top_of_scale(record.influence)
    figure = influence_map("model-map", "model", record.influence, top=top)
    return {
        "title": f"{record.model.name} on {record.task.name}",
        "kicker": "Influence of a model's components",
        "record": record,
        "verdict": influence_verdict(record),
        "top": top,
        "map": figure,
        "figures": [figure.plain()],
        "attention": [],
        "models": (record.model,),
        "provenance": provenance(result),
    }


def provenance(result: Mapping[str, Any]) -> Context:
    """What made a result: settings, versions, device and command, as pairs of words for a list."""
    command = result.get("command")
    if isinstance(command, list):
        command = shlex.join(str(part) for part in command)
    settings = result.get("settings")
    versions = result.get("versions")
    others = {key: result[key] for key in ("seed", "device", "dtype", "seconds") if key in result}
    return {
        "command": str(command) if command else None,
        "settings": _words({**(settings if isinstance(settings, Mapping) else {}), **others}),
        "versions": _words(versions if isinstance(versions, Mapping) else {}),
        "schema": result.get("schema"),
    }


def _words(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key.replace("_", " "), _word(value)) for key, value in values.items()]


def _word(value: Any) -> str:  # noqa: ANN401 - anything that JSON can hold
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_word(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_word(item)}" for key, item in value.items())
    return str(value)
