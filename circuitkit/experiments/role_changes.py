"""What became of a teacher's roles in its student: kept, merged, lost and new, from two tables of roles."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["both", "lost", "new", "untested in student", "untested in teacher"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTable:
    """Which components of a model have which role.

    Attributes:
        held: Role to the components that are claimed to have it; without any it may be left out.
        tested: Roles that could have been claimed. Of the others nothing is known, not even that they are absent.
        implied: Role to the components that have it only as a part of another role that they are listed with. They
            count as holders where a component of either model is listed with the role.
    """

    held: Mapping[str, Sequence[str]]
    tested: Collection[str]
    implied: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])

    def of(self, role: str) -> tuple[str, ...]:
        """The components of one role, those first that are listed with it."""
        return (*self.held.get(role, ()), *self.implied.get(role, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """The student component that a teacher component is matched to, and how similar their activations are."""

    student: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleMatch:
    """A teacher component that has a role, and its partner.

    Attributes:
        teacher: The teacher's component.
        student: Its partner in the student.
        similarity: Of their activations.
        same_role: Whether the partner has the role too.
    """

    teacher: str
    student: str
    similarity: float
    same_role: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Several teacher components of one role that share their partner.

    Attributes:
        student: The partner.
        teachers: The teacher's components.
        same_role: Whether the partner has the role too: only then the role, and not just the activations, is merged.
    """

    student: str
    teachers: tuple[str, ...]
    same_role: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChange:
    """One role in both models.

    Attributes:
        role: The role.
        status: `both` have it; `lost`: the teacher alone; `new`: the student alone. `untested`: one has it, and in the
            other it could not be claimed.
        teacher: The teacher's components that have it.
        student: The student's.
        matches: The teacher's, with their partners.
        merges: Partners of two or more of the teacher's.
        lost: The teacher's whose partner, if there is one, does not have it; none where the student was not tested.
        new: The student's that are partner of none of the teacher's; none where the teacher was not tested.
    """

    role: str
    status: Status
    teacher: tuple[str, ...]
    student: tuple[str, ...]
    matches: tuple[RoleMatch, ...]
    merges: tuple[Merge, ...]
    lost: tuple[str, ...]
    new: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, without the name of the role."""
        found = asdict(self)
        del found["role"]
        return found


def role_changes(
    teacher: RoleTable, student: RoleTable, partners: Mapping[str, Partner], *, order: Sequence[str]
) -> tuple[RoleChange, ...]:
    """Compare the roles of two models (Distilled Circuits, section 3.2.3 and Table 1).

    The paper matches components by their activations and names their roles by eye; here both are evidence of their
    own, so that a partner may lack the role, and a role may be held by components that are no partners.

    Args:
        teacher: The teacher's roles.
        student: The student's.
        partners: The partner of each teacher component that is matched: one each, of which several may share one.
        order: Roles in the order in which they are wanted.

    Returns:
        The roles that either model has.
    """
    found: list[RoleChange] = []
    for role in order:
        if not teacher.held.get(role) and not student.held.get(role):
            continue
        mine, theirs = teacher.of(role), student.of(role)
        matches = tuple(_match(name, partners[name], theirs) for name in mine if name in partners)
        kept = {match.teacher for match in matches if match.same_role}
        reached = {match.student for match in matches}
        found.append(
            RoleChange(
                role=role,
                status=_status(role, teacher, student),
                teacher=mine,
                student=theirs,
                matches=matches,
                merges=_merges(matches),
                lost=tuple(name for name in mine if name not in kept) if role in student.tested else (),
                new=tuple(name for name in theirs if name not in reached) if role in teacher.tested else (),
            )
        )
    return tuple(found)


def _match(name: str, partner: Partner, holders: Collection[str]) -> RoleMatch:
    return RoleMatch(
        teacher=name, student=partner.student, similarity=partner.similarity, same_role=partner.student in holders
    )


def _merges(matches: Sequence[RoleMatch]) -> tuple[Merge, ...]:
    groups: dict[str, list[RoleMatch]] = {}
    for match in matches:
        groups.setdefault(match.student, []).append(match)
    return tuple(
        Merge(student=student, teachers=tuple(m.teacher for m in group), same_role=group[0].same_role)
        for student, group in groups.items()
        if len(group) > 1
    )


def _status(role: str, teacher: RoleTable, student: RoleTable) -> Status:
    if teacher.of(role) and student.of(role):
        return "both"
    if teacher.of(role):
        return "lost" if role in student.tested else "untested in student"
    return "new" if role in teacher.tested else "untested in teacher"
