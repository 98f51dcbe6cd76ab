"""Results of probes as a small piece of HTML without scripts, for notebooks."""

from collections.abc import Mapping, Sequence
from typing import Any

from circuitkit.reports.key_figures import NONE
from circuitkit.reports.notebook_view import NotebookTable, notebook_view
from circuitkit.reports.numerals import fixed, interval
from circuitkit.reports.probe_record import ProbeCurve, ProbeRecord, ProbeRow
from circuitkit.reports.probe_verdict import model_names, probe_verdict
from circuitkit.reports.records import read_record
from circuitkit.reports.value_grid import ValueCell, ValueGrid, number_cell


def probe_summary(result: Mapping[str, Any]) -> str:
    """Headline, maps of what can be told where, and the best place of every target.

    Args:
        result: What `result.json` of `circuitkit.probe/1` holds.

    Raises:
        ResultError: The result lacks something that is shown.
    """
    record = read_record(ProbeRecord, result)
    names = model_names(record)
    return notebook_view(
        verdict=probe_verdict(record),
        warnings=record.warnings,
        grids=[grid for who, name in names.items() for grid in _grids(name, record.of(who))],
        tables=(_best(record, names),),
    )


def _grids(name: str, curves: Sequence[ProbeCurve]) -> list[ValueGrid]:
    """Targets by layer in one grid; where heads were probed, layers by heads in one grid a target."""
    layered = [curve for curve in curves if all(row.head is None for row in curve.rows)]
    by_head = [_by_head(name, curve) for curve in curves if any(row.head is not None for row in curve.rows)]
    return [*([_by_layer(name, layered)] if layered else []), *by_head]


def _by_layer(name: str, curves: Sequence[ProbeCurve]) -> ValueGrid:
    columns = tuple(dict.fromkeys(row.name for curve in curves for row in curve.rows))
    return ValueGrid(
        name=f"{name}: {' or '.join(dict.fromkeys(curve.metric for curve in curves))} on held-out prompts",
        corner="target",
        columns=columns,
        rows=tuple((c.target, tuple(_cell(c, c.row(column), len(columns)) for column in columns)) for c in curves),
        note="Blue: above chance, up to 1; orange: below it.",
    )


def _by_head(name: str, curve: ProbeCurve) -> ValueGrid:
    heads = [row for row in curve.rows if row.head is not None]
    n_heads = 1 + max(row.head for row in heads if row.head is not None)
    layers = sorted({row.layer for row in heads})
    return ValueGrid(
        name=f"{name}, {curve.target}: {curve.metric} on held-out prompts",
        corner="layer",
        columns=tuple(f"head {i}" for i in range(n_heads)),
        rows=tuple((str(i), tuple(_cell(curve, row, n_heads) for row in heads if row.layer == i)) for i in layers),
        note=f"Blue: above chance ({fixed(curve.chance)}), up to 1; orange: below it. "
        f"From the embedding: {fixed(curve.rows[0].value)}.",
    )


def _cell(curve: ProbeCurve, row: ProbeRow, n_columns: int) -> ValueCell:
    share = (row.value - curve.chance) / (1 - curve.chance)
    told = f"{curve.metric} {fixed(row.value)}" + ("" if row.ci95 is None else f" ({interval(row.ci95)})")
    title = f"{curve.target} at {row.name}: {told}, labels shuffled {fixed(row.control)}"
    return number_cell(row.value, share, title=title, n_columns=n_columns)


def _best(record: ProbeRecord, names: Mapping[str, str]) -> NotebookTable:
    return NotebookTable(
        caption="Every target where it is told best",
        columns=("target", "model", "told from", "best at", "metric", "value", "95%", "labels shuffled", "chance"),
        rows=[
            (
                curve.target,
                names[curve.who],
                curve.decodable_from or NONE,
                curve.best,
                curve.metric,
                fixed(curve.best_row.value),
                interval(curve.best_row.ci95),
                fixed(curve.best_row.control),
                fixed(curve.chance),
            )
            for curve in record.curves
        ],
    )
