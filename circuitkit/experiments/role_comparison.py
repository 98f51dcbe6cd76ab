"""The roles of a teacher's and a student's components side by side, and how far each model relies on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from circuitkit.alignment.result import AlignmentResult
from circuitkit.core.component import Component
from circuitkit.experiments.drops import Drop, more_in_student
from circuitkit.experiments.role_changes import Partner, RoleChange, RoleTable, role_changes
from circuitkit.roles.catalogue import ROLES
from circuitkit.roles.result import RoleResult
from circuitkit.roles.significance import LEAST_PROMPTS
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.usable import UNEVEN

Side = Literal["teacher", "student"]
CONVENTIONS = {
    "full_model": "fall of the whole model's logit difference when the component alone (of a role: all its components "
    "together) is ablated, in percent of the whole model's logit difference",
    "circuit_minus_head": "fall of the isolated circuit's logit difference when the component too is ablated, in "
    "percent of the whole model's logit difference: Table 1 of Distilled Circuits, as its notebooks compute it, which "
    "prints falls with a minus sign; null for components outside the circuit",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SideOfRoles:
    """One model.

    Attributes:
        result: Its roles with all evidence, and the influence of its components on the same prompts.
        tested: Roles that could have been claimed.
        alone: Drop of the whole model without each component that has a role.
        in_circuit: Drop of the circuit without it; only those in the circuit.
        together: Drop of the whole model without all components of a role.
    """

    result: RoleResult
    tested: frozenset[str]
    alone: Mapping[str, Drop]
    in_circuit: Mapping[str, Drop]
    together: Mapping[str, Drop]

    def drops(self, name: str) -> dict[str, Any]:
        """JSON-able drops of one component by both conventions."""
        inside = self.in_circuit.get(name)
        return {
            "full_model": self.alone[name].to_dict(),
            "circuit_minus_head": None if inside is None else inside.to_dict(),
        }

    def representative(self, names: Sequence[str]) -> dict[str, Any] | None:
        """The component whose ablation costs the whole model most, of so many; None where there are none."""
        if not names:
            return None
        name = max(names, key=lambda name: self.alone[name].fall.double().mean().item())
        return {"component": name, "of": len(names), **self.drops(name)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoleComparison:
    """Which roles a student kept, merged, lost and gained.

    Attributes:
        teacher: The teacher.
        student: The student.
        changes: The roles that either has, in the order of the catalogue.
        ablation: What ablated activations were replaced by.
        notices: Plain facts that a reader must see.
    """

    teacher: SideOfRoles
    student: SideOfRoles
    changes: tuple[RoleChange, ...]
    ablation: str
    notices: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """What stands under `roles` in the JSON of a comparison."""
        sides: dict[str, SideOfRoles] = {"teacher": self.teacher, "student": self.student}
        found = [change.status for change in self.changes]
        merges = [merge for change in self.changes for merge in change.merges if merge.same_role]
        return {
            "conventions": dict(CONVENTIONS),
            "ablation": self.ablation,
            "alpha": self.teacher.result.alpha,
            "units": {"logits": "logits", "points": "percent of the whole model's logit difference"},
            "summary": {
                "kept": found.count("both"),
                "lost": found.count("lost"),
                "new": found.count("new"),
                "untested": sum(status.startswith("untested") for status in found),
                "merged": len(merges),
                "components": {name: len(side.alone) for name, side in sides.items()},
            },
            "tested": {name: [role for role in ROLES if role in side.tested] for name, side in sides.items()},
            "roles": {change.role: self._role(change) for change in self.changes},
            "components": {
                name: {part: {"roles": side.result.roles[part], **side.drops(part)} for part in side.alone}
                for name, side in sides.items()
            },
            "table1": self.table1(),
            "warnings": list(self.notices),
        }

    def _role(self, change: RoleChange) -> dict[str, Any]:
        role, drops = ROLES[change.role], [side.together.get(change.role) for side in (self.teacher, self.student)]
        return {
            "title": role.title,
            "source": role.source,
            "helps": role.helps,
            **change.to_dict(),
            "effects": {
                name: {part: side.result.scores[part][change.role]["effect"] for part in own}
                for name, side, own in (
                    ("teacher", self.teacher, change.teacher),
                    ("student", self.student, change.student),
                )
            },
            "reliance": {
                "teacher": None if drops[0] is None else drops[0].to_dict(),
                "student": None if drops[1] is None else drops[1].to_dict(),
                "difference": more_in_student(*drops),
            },
            "nearest": {
                name: _nearest(side.result, change.role)
                for name, side, own in (
                    ("teacher", self.teacher, change.teacher),
                    ("student", self.student, change.student),
                )
                if not own and change.role in side.tested
            },
        }

    def table1(self) -> list[dict[str, Any]]:
        """Table 1 of Distilled Circuits: for each role the teacher's and the student's head with their drops.

        Of several components of one role the one is taken whose ablation costs the whole model most.
        """
        return [
            {
                "role": change.role,
                "teacher": self.teacher.representative(change.teacher),
                "student": self.student.representative(change.student),
            }
            for change in self.changes
        ]


def tested_roles(result: RoleResult, batch: PromptBatch) -> frozenset[str]:
    """Roles that could have been claimed: with places on enough prompts, and with causal evidence."""
    if batch.corrupted is None or not batch.positional or not result.influence.baseline.clear:
        return frozenset()
    return frozenset(name for name, found in result.evidence.items() if found.n_prompts >= LEAST_PROMPTS)


def holders(result: RoleResult) -> dict[str, tuple[str, ...]]:
    """Role to the components that are listed with it, the most influential first."""
    return _by_role(result, result.roles)


def implied_holders(result: RoleResult) -> dict[str, tuple[str, ...]]:
    """Role to the components that have it as a part of another role, the most influential first."""
    return _by_role(result, result.implied)


def _by_role(result: RoleResult, roles: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in result.frame()["component"].tolist():
        for role in roles[name]:
            found[role] = (*found.get(role, ()), name)
    return found


def partners(aligned: AlignmentResult) -> dict[str, Partner]:
    """The partner of every matched teacher component: the most similar where there are several."""
    best: dict[str, Partner] = {}
    m = aligned.matching
    for t, s, value in zip(m.teacher.tolist(), m.student.tolist(), m.similarity.tolist(), strict=True):
        name = str(aligned.teacher.components[t])
        if name not in best or value > best[name].similarity:
            best[name] = Partner(student=str(aligned.student.components[s]), similarity=value)
    return best


def compare_sides(
    teacher: SideOfRoles, student: SideOfRoles, aligned: AlignmentResult, *, ablation: str
) -> RoleComparison:
    """Put the roles of two models, measured on the same prompts, side by side."""
    changes = role_changes(
        _table(teacher),
        _table(student),
        partners(aligned),
        order=list(ROLES),
    )
    return RoleComparison(
        teacher=teacher, student=student, changes=changes, ablation=ablation, notices=_notices(teacher, student)
    )


def _table(side: SideOfRoles) -> RoleTable:
    return RoleTable(held=holders(side.result), tested=side.tested, implied=implied_holders(side.result))


def component_groups(result: RoleResult) -> dict[str, tuple[Component, ...]]:
    """Role to its components, those that have it as a part of another role among them."""
    listed, implied = holders(result), implied_holders(result)
    every = {role: (*listed.get(role, ()), *implied.get(role, ())) for role in ROLES}
    return {role: tuple(map(Component.parse, names)) for role, names in every.items() if names}


def _nearest(result: RoleResult, role: str) -> dict[str, Any] | None:
    """The head that comes closest to a role that nobody has, and the evidence that is missing.

    A lost role can so be told from a near miss. Of heads with the same p-value it is the one with the best score.
    """
    tests = {name: tests[role] for name, tests in result.scores.items() if role in tests}
    if not tests:
        return None
    name = min(tests, key=lambda head: (tests[head]["p"], -tests[head]["score"]))
    row = tests[name]
    held = {kind: part["p"] <= result.alpha for kind, part in row["evidence"].items() if part is not None}
    either = held.get("qk", False) or held.get("ov", False)  # one causal effect is enough
    missing = [kind for kind, holds in held.items() if not holds and not (kind in ("qk", "ov") and either)]
    return {"component": name, "p": row["p"], "q": row["q"], "r": row["r"], "score": row["score"], "missing": missing}


def _notices(teacher: SideOfRoles, student: SideOfRoles) -> tuple[str, ...]:
    """What is special to the comparison, then what was said of either model's roles; what is true of one says which."""
    sides = {"teacher": teacher, "student": student}
    out = [
        f"No role could be claimed for the {name} on these prompts, so that none can be called kept, lost or new."
        for name, side in sides.items()
        if not side.tested
    ]
    said = {name: [n for n in side.result.notices if n not in side.result.influence.warnings]
            for name, side in sides.items()}  # fmt: skip
    out += [notice for notice in teacher.result.influence.warnings if UNEVEN in notice]
    shared = [notice for notice in said["teacher"] if notice in said["student"]]
    own = [f"{name.capitalize()}: {n}" for name, notices in said.items() for n in notices if n not in shared]
    return tuple(dict.fromkeys([*out, *shared, *own]))
