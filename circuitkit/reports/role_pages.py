"""From a checked role result to what its page's template needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from circuitkit.reports.pages import Context, provenance
from circuitkit.reports.records import Effect, read_record
from circuitkit.reports.role_attention import role_pictures
from circuitkit.reports.role_record import RoleRecord, RoleScore
from circuitkit.reports.role_verdict import role_verdict

_ROWS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One head tested for one role; the role also as it is told, with what the head does to the task."""

    head: str
    role: str
    told: str
    score: RoleScore


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentRow:
    """One component with its influence and roles."""

    name: str
    effect: Effect
    roles: tuple[str, ...]


def role_page(result: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Context:
    """Context of `roles.html.j2`.

    Raises:
        ResultError: The result lacks something that the report shows.
    """
    record = read_record(RoleRecord, result)
    ranked = sorted(record.influence, key=lambda name: -record.influence[name].influence)
    rows = [ComponentRow(name=n, effect=record.influence[n], roles=record.roles_of(n)) for n in ranked]
    pictures = role_pictures(record, tensors)
    return {
        "title": f"Roles in {record.model.name} on {record.task.name}",
        "kicker": "What each component does",
        "record": record,
        "verdict": role_verdict(record),
        "rows": rows,
        "claims": [claim for row in rows for claim in _claims(record, row)],
        "tested": {role: _tested(record, role) for role in record.definitions},
        "pictures": pictures,
        "figures": [],
        "attention": [picture.plain for picture in pictures],
        "models": (record.model,),
        "provenance": provenance(result),
    }


def _claims(record: RoleRecord, row: ComponentRow) -> list[Claim]:
    scores = record.scores.get(row.name, {})
    return [_claim(record, row.name, role) for role in record.roles.get(row.name, ()) if role in scores]


def _claim(record: RoleRecord, head: str, role: str) -> Claim:
    return Claim(head=head, role=role, told=record.told(head, role), score=record.scores[head][role])


def _tested(record: RoleRecord, role: str) -> list[Claim]:
    """The heads that come closest to one role."""
    found = [_claim(record, head, role) for head, tests in record.scores.items() if role in tests]
    return sorted(found, key=lambda claim: (claim.score.p, -claim.score.score))[:_ROWS]
