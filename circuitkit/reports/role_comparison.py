"""Sentences about the roles of a teacher and a student, for the page of a comparison."""

from circuitkit.reports.numerals import p_value
from circuitkit.reports.role_comparison_record import ComparedRoles, RoleInBoth

_KINDS = {
    "attention": "where it looks",
    "random": "where it looks in random text",
    "qk": "the effect of where it looks",
    "ov": "the effect of what it reads",
    "write": "what it writes",
}


def roles_in_words(roles: ComparedRoles | None) -> tuple[str, ...]:
    """Sentences that sum up what became of the roles; none where they were not asked for."""
    if roles is None:
        return ()
    if not any(roles.tested.values()):
        return ("No role could be tested in either model.",)
    if not roles.roles:
        return ("No head of either model can be shown to have any of the tested roles.",)
    parts = [
        _named(roles, "both", "Both models have {}."),
        _named(roles, "lost", "No head of the student can be shown to have {}, which the teacher has."),
        _named(roles, "new", "The student alone has {}."),
    ]
    merged = [
        f"{' and '.join(merge.teachers)} of the teacher ({name}) in {merge.student} of the student"
        for name, role in roles.roles.items()
        for merge in role.merges
        if merge.same_role
    ]
    if merged:
        parts.append(f"Merged: {'; '.join(merged)}.")
    more, less = _clearly(roles, 1), _clearly(roles, -1)
    if more:
        parts.append(f"The student clearly loses more than the teacher without {_listed(more)}.")
    if less:
        parts.append(f"It clearly loses less without {_listed(less)}.")
    parts += _turned(roles)
    for who in ("teacher", "student"):
        if better := _better_without(roles, who):
            parts.append(f"Without its {_listed(better)} the {who} does clearly better, not worse.")
    return tuple(part for part in parts if part)


def _turned(roles: ComparedRoles) -> list[str]:
    """Roles that may help or hurt, whose heads do one in the teacher and the other in the student."""
    found: list[str] = []
    for name, role in roles.roles.items():
        teacher, student = (
            {effect for effect in role.effects.get(who, {}).values() if effect} for who in ("teacher", "student")
        )
        if not role.helps and len(teacher) == len(student) == 1 and teacher != student:
            verbs = {"helps": "help", "hurts": "hurt"}
            found.append(f"{name} heads {verbs[teacher.pop()]} the teacher and {verbs[student.pop()]} the student.")
    return found


def _better_without(roles: ComparedRoles, who: str) -> list[str]:
    """Roles whose heads, ablated together, leave the model with clearly more of its logit difference."""
    found = {name: r.reliance.teacher if who == "teacher" else r.reliance.student for name, r in roles.roles.items()}
    return [name for name, fall in found.items() if fall and fall.points_ci95 and max(fall.points_ci95) < 0]


def _named(roles: ComparedRoles, status: str, sentence: str) -> str:
    found = [name for name, role in roles.roles.items() if role.status == status]
    return sentence.format(_listed(found)) if found else ""


def _clearly(roles: ComparedRoles, sign: int) -> list[str]:
    """Roles of both whose difference in reliance has an interval on one side of 0."""
    apart = {name: role.reliance.difference for name, role in roles.roles.items()}
    return [name for name, d in apart.items() if d and d.points_ci95 and min(sign * b for b in d.points_ci95) > 0]


def _listed(names: list[str]) -> str:
    named = [f"{name} heads" if i == len(names) - 1 else name for i, name in enumerate(names)]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def what_happened(role: RoleInBoth) -> str:
    """What became of one role, in the words of the table."""
    said: list[str] = []
    in_merge = {name for merge in role.merges for name in merge.teachers}
    for merge in role.merges:
        verb = "merged in" if merge.same_role else "share the partner"
        said.append(f"{' and '.join(merge.teachers)} {verb} {merge.student}{'' if merge.same_role else ', without it'}")
    for match in role.matches:
        if match.teacher not in in_merge:
            said.append(f"{match.teacher} → {match.student}{'' if match.same_role else ' (without it)'}")
    if role.new and role.status == "both":
        said.append(f"the student's {', '.join(role.new)} {'is' if len(role.new) == 1 else 'are'} no partner of these")
    if role.status not in ("both", "new"):
        said.insert(0, role.status)
    elif role.status == "new":
        said.append("new")
    near = next((found for found in role.nearest.values() if found), None)
    if near is not None:
        missing = ", ".join(_KINDS[kind] for kind in near.missing if kind in _KINDS)
        why = f"it fails by {missing}" if missing else f"too little for so many tests ({p_value(near.p)})"
        said.append(f"closest: {near.component}, {why}")
    return "; ".join(said)
