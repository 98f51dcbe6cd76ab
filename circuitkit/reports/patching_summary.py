"""A patching map as a small piece of HTML without scripts, for notebooks."""

from collections.abc import Mapping, Sequence
from typing import Any

from circuitkit.reports.key_figures import NONE
from circuitkit.reports.notebook_view import NotebookTable, notebook_view
from circuitkit.reports.numerals import count, fixed, interval
from circuitkit.reports.patching_figures import FINEST, part_title
from circuitkit.reports.patching_record import PatchedSite, PatchEffect, PatchingRecord
from circuitkit.reports.patching_verdict import patching_verdict
from circuitkit.reports.records import read_record
from circuitkit.reports.value_grid import ValueCell, ValueGrid, number_cell

_SHOWN, _MOST_ROWS = 10, 24


def patching_summary(result: Mapping[str, Any]) -> str:
    """Headline, one map a kind of place, and the places with the largest effects.

    Args:
        result: What `result.json` of `circuitkit.patching/1` holds.

    Raises:
        ResultError: The result lacks something that is shown.
    """
    record = read_record(PatchingRecord, result)
    parts = dict.fromkeys(row.part for row in record.rows)
    return notebook_view(
        verdict=patching_verdict(record),
        warnings=record.warnings,
        grids=[_grid(part, [row for row in record.rows if row.part == part], record) for part in parts],
        tables=(_largest(record),),
    )


def _grid(part: str, rows: Sequence[PatchedSite], record: PatchingRecord) -> ValueGrid:
    """The sites of a part by position; of many, those with the largest effects at single positions."""
    strength = {row.name: max(abs(_value(record.effects[row.name][name])) for name in record.singles) for row in rows}
    kept = set(sorted(strength, key=lambda name: -strength[name])[:_MOST_ROWS])
    shown = [row for row in rows if row.name in kept]
    top = max(*strength.values(), FINEST if record.gap.clear else FINEST * abs(record.logit_diff.mean)) or 1.0
    left = len(rows) - len(shown)
    return ValueGrid(
        name=f"{part_title(part)}: {_unit(record)}",
        corner="patched at",
        columns=tuple(position.name for position in record.positions),
        rows=tuple((row.name, tuple(_cell(row.name, p.name, record, top) for p in record.positions)) for row in shown),
        note=f"The other {count(left)}, with smaller effects, are left out." if left else "",
    )


def _cell(row: str, position: str, record: PatchingRecord, top: float) -> ValueCell:
    effect = record.effects[row][position]
    told = f"{fixed(effect.effect)} logits" + ("" if effect.ci95 is None else f" ({interval(effect.ci95)})")
    title = f"{row} at {position}: {told}"
    return number_cell(_value(effect), _value(effect) / top, title=title, n_columns=len(record.positions))


def _largest(record: PatchingRecord) -> NotebookTable:
    cells = [(row.name, name, record.effects[row.name][name]) for row in record.rows for name in record.singles]
    top = sorted(cells, key=lambda cell: -abs(cell[2].effect))[:_SHOWN]
    return NotebookTable(
        caption=f"The {len(top)} largest of {count(len(cells))} effects at single positions",
        columns=("patched", "at", "effect, logits", "95%", "share of the answer", "95%"),
        rows=[
            (
                row,
                name,
                fixed(e.effect),
                interval(e.ci95),
                NONE if e.share is None else fixed(e.share),
                interval(e.share_ci95),
            )
            for row, name, e in top
        ],
    )


def _unit(record: PatchingRecord) -> str:
    verb = "restored" if record.direction == "denoise" else "lost"
    return f"share of the answer {verb}" if record.gap.clear else f"logits {verb}"


def _value(effect: PatchEffect) -> float:
    return effect.effect if effect.share is None else effect.share
