"""Summary of roles for a terminal, on standard error."""

from typing import Any

from rich.table import Column, Table
from rich.text import Text

from circuitkit.cli.console import notice, stderr
from circuitkit.cli.numbers import interval
from circuitkit.core.utf8 import printable
from circuitkit.roles.catalogue import ROLES, Role
from circuitkit.roles.result import RoleResult

UNKNOWN_SHOWN = 5
_HEADS = ("attention (chance)", "effect (logits)", "write", "r")


def role_table(result: RoleResult) -> None:
    """Print the claimed roles with their figures, and the most influential components without any."""
    baseline, scores, roles = result.influence.baseline, result.scores, result.roles
    title = f"{result.influence.model.name} on {result.influence.task['name']}, {baseline.n_prompts} prompts"
    stderr().print(Text(printable(title), style="bold"))
    mean = f"{baseline.mean:.2f} {interval(baseline.ci95, 2)}".strip()
    notice(f"logit difference {mean}, {100 * baseline.accuracy:.0f}% right")
    table = Table("component", "influence", Column("role", no_wrap=True), *_HEADS)
    unknown = 0
    for row in result.frame().to_dict("records"):
        name, held = str(row["component"]), roles[str(row["component"])]
        for number, role in enumerate(held):
            first = (name, f"{row['influence']:.3f}") if number == 0 else ("", "")
            table.add_row(*first, role, *_cells(scores[name][role], ROLES[role]))
        if not held and unknown < UNKNOWN_SHOWN:
            unknown += 1
            table.add_row(name, f"{row['influence']:.3f}", "unknown", "", "", "", "")
    stderr().print(table)
    for warning in result.warnings:
        notice(f"note: {warning}")


def _cells(row: dict[str, Any], role: Role) -> tuple[str, str, str, str]:
    """Figures of one claim; the effect of a role that may help or hurt says which."""
    evidence = row["evidence"]
    looks = evidence["attention"]
    effects = [
        f"{name} {evidence[name]['score']:.2f}"
        for name in ("qk", "ov")
        if evidence[name] is not None and evidence[name]["p"] < 0.5
    ]
    return (
        "-" if looks is None else f"{looks['score']:.2f} ({looks['chance']:.2f})",
        ", ".join([*effects, *([] if role.helps else [row["effect"]])]),
        _write(evidence["write"], role),
        f"{row['r']:.1g}",
    )


def _write(write: dict[str, Any] | None, role: Role) -> str:
    """A share of prompts or, of a role that acts through later components, how little of the effect is direct."""
    if write is None:
        return "-"
    return f"direct {write['score']:.2f}" if role.write == "indirect" else f"{write['score']:.2f}"
