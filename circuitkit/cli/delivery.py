"""Finished alignments: saved, printed, drawn and held against the gate.

Imported before anything is measured, so that nothing that is only needed at the end can be missing then.
"""

from collections.abc import Sequence
from pathlib import Path

from circuitkit.alignment.result import AlignmentResult
from circuitkit.alignment.table import save_table, table_dict
from circuitkit.cli.console import notice
from circuitkit.cli.output import say_where, write_json
from circuitkit.cli.tables import alignment_table, task_table
from circuitkit.core.run_path import drop_partial
from circuitkit.reports.html import report

GATE_NOT_MET = 3


def deliver(
    results: Sequence[AlignmentResult], out: Path, *, html: Path | None, json_to: str | None, least: float | None
) -> int:
    """Save, print and draw finished results; the exit code says whether the gate was met."""
    if len(results) == 1:
        results[0].save(out)
        write_json(results[0].to_dict(), json_to)
        alignment_table(results[0])
    else:
        save_table(results, out)
        write_json(table_dict(results), json_to)
        task_table(results)
    drop_partial(out)
    say_where(out, report(out, html), json_to=json_to)
    return _gate(results, least)


def _gate(results: Sequence[AlignmentResult], least: float | None) -> int:
    if least is None:
        return 0
    missed = [result for result in results if result.scores.ci95 is None or not result.scores.ci95[0] >= least]
    for result in missed:
        bounds = result.scores.ci95
        found = "has no lower bound" if bounds is None else f"has the lower bound {bounds[0]:.3f}"
        notice(f"Gate not met on {result.task['name']}: the score {found}, wanted {least} or more.")
    return GATE_NOT_MET if missed else 0
