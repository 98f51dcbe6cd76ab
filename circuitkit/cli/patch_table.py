"""Patching maps for a terminal, on standard error."""

from math import isnan

from rich.table import Table
from rich.text import Text

from circuitkit.cli.console import notice, stderr
from circuitkit.core.utf8 import printable
from circuitkit.probes.patching_map import PatchingMap

TOP_ROWS, MOST_COLUMNS = 10, 9


def patch_table(result: PatchingMap) -> None:
    """Print every block, then the strongest of all other rows: shares of the gap, or logits where there is none."""
    title = f"{result.model.name} on {result.task['name']}, {result.task['n_prompts']} prompts, {result.direction}"
    stderr().print(Text(printable(title), style="bold"))
    notice(
        f"logit difference {result.clean.mean():.2f} clean, {result.corrupted.mean():.2f} corrupted; "
        f"{'shares of the difference' if result.gap.clear else 'effects in logits'}"
    )
    strength = result.mean_effects[:, :-1].abs().amax(1)
    others = [i for i in strength.argsort(descending=True).tolist() if result.rows[i].part != "block"][:TOP_ROWS]
    blocks = [i for i, row in enumerate(result.rows) if row.part == "block"]
    stderr().print(_table(result, [*blocks, *others]))
    for warning in result.warnings:
        notice(f"note: {warning}")


def _table(result: PatchingMap, rows: list[int]) -> Table:
    """Every position, or, where a terminal has no room for them, the strongest one and all tokens."""
    values = result.mean_effects if result.shares is None else result.shares
    table = Table("patched")
    if len(result.positions) > MOST_COLUMNS:
        for title in ("strongest at", "there", "all tokens"):
            table.add_column(title)
        for i in rows:
            best = int(result.mean_effects[i, :-1].argmax())
            shown = _shown(values[i, best].item()), _shown(values[i, -1].item())
            table.add_row(result.rows[i].name, Text(printable(result.positions[best])), *shown)
        return table
    for name in result.positions:
        table.add_column(Text(printable(name)))
    for i in rows:
        table.add_row(result.rows[i].name, *map(_shown, values[i].tolist()))
    return table


def _shown(value: float) -> str:
    return "–" if isnan(value) else f"{value:.2f}"
