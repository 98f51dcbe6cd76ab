"""From a checked patching map to what its page's template needs."""

from collections.abc import Mapping
from typing import Any

from circuitkit.reports.pages import Context, provenance
from circuitkit.reports.patching_figures import lens_figure, part_title, patching_map
from circuitkit.reports.patching_record import PatchingRecord
from circuitkit.reports.patching_verdict import patching_verdict
from circuitkit.reports.records import read_record

ROWS = 200


def patching_page(result: Mapping[str, Any]) -> Context:
    """Context of `patching.html.j2`.

    Raises:
        ResultError: The result lacks something that the report shows.
    """
    record = read_record(PatchingRecord, result)
    drawn = {part: patching_map(part, record) for part in dict.fromkeys(row.part for row in record.rows)}
    lens = lens_figure(record)
    cells = [(row.name, p.name, record.effects[row.name][p.name]) for row in record.rows for p in record.positions]
    return {
        "title": f"Activation patching of {record.model.name} on {record.task.name}",
        "kicker": "Activation patching",
        "record": record,
        "verdict": patching_verdict(record),
        "maps": [(part_title(part), figure, left_out) for part, (figure, left_out) in drawn.items()],
        "unit": "share of the answer" if record.gap.clear else "logits",
        "cells": sorted(cells, key=lambda cell: -abs(cell[2].effect))[:ROWS],
        "n_cells": len(cells),
        "lens": lens,
        "figures": [*(figure.plain() for figure, _ in drawn.values()), lens.plain()],
        "attention": [],
        "models": (record.model,),
        "provenance": provenance(result),
    }
