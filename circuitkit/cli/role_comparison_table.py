"""The roles of a teacher and a student for a terminal, on standard error."""

from collections.abc import Sequence
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from circuitkit.cli.console import stderr
from circuitkit.cli.tables import interval
from circuitkit.core.utf8 import printable
from circuitkit.experiments.role_changes import RoleChange
from circuitkit.experiments.role_comparison import RoleComparison


def role_comparison_table(roles: RoleComparison) -> None:
    """Print the roles that either model has, and one head for each as Table 1 of Distilled Circuits does."""
    if not roles.changes:
        stderr().print("no head of either model can be shown to have any of the tested roles")
        return
    found = roles.to_dict()
    table = Table(Column("role", no_wrap=True), "teacher", "student", "became", "reliance, teacher", "student")
    for change in roles.changes:
        about = found["roles"][change.role]
        reliance = about["reliance"]
        table.add_row(
            change.role,
            _holders(change.teacher, about, "teacher"),
            _holders(change.student, about, "student"),
            _text(_became(change)),
            _text(_points(reliance["teacher"])),
            _text(_points(reliance["student"])),
        )
    table.caption = "reliance: drop in % of the whole model's logit difference with all of a role's heads ablated"
    stderr().print(table)
    heads = Table(
        Column("role", no_wrap=True), "teacher", "circuit without it", "model", "student", "circuit without it", "model"
    )
    for row in found["table1"]:
        heads.add_row(row["role"], *_head(row["teacher"]), *_head(row["student"]))
    heads.caption = (
        "one head a role, as Table 1 of Distilled Circuits: drops in % of the whole model's logit difference"
    )
    stderr().print(heads)


def _holders(names: Sequence[str], about: dict[str, Any], who: str) -> str:
    """Components, each with what it does to the task where the role leaves that open."""
    told = [name if about["helps"] else f"{name} ({about['effects'][who][name]})" for name in names]
    return " ".join(told) or "-"


def _became(change: RoleChange) -> str:
    merged = [f"{'+'.join(m.teachers)} merged in {m.student}" for m in change.merges if m.same_role]
    return "; ".join(["kept" if change.status == "both" else change.status, *merged])


def _head(head: dict[str, Any] | None) -> tuple[Text, Text, Text]:
    if head is None:
        return _text("-"), _text("-"), _text("-")
    return _text(head["component"]), _text(_points(head["circuit_minus_head"])), _text(_points(head["full_model"]))


def _points(drop: dict[str, Any] | None) -> str:
    if drop is None or drop["points"] is None:
        return "-"
    return f"{drop['points']:.1f} {interval(drop['points_ci95'], 1)}".strip()


def _text(text: str) -> Text:
    return Text(printable(text))
