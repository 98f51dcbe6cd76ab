"""What a comparison's page needs of the key `roles`, which runs made before roles do not have."""

from typing import Literal

from pydantic import Field

from circuitkit.reports.records import ComponentName, Interval, Record


class Fall(Record):
    """What is lost, in logits and in percent of the whole model's logit difference; None where that is unclear."""

    logits: float
    logits_ci95: Interval | None = None
    points: float | None = None
    points_ci95: Interval | None = None


class Falls(Record):
    """The same by both conventions; None for components outside the circuit."""

    full_model: Fall
    circuit_minus_head: Fall | None = None


class Holder(Falls):
    """A component that has roles."""

    roles: tuple[str, ...] = Field(min_length=1)


class TableHead(Falls):
    """The head that stands for a role in Table 1, one of so many."""

    component: ComponentName
    of: int


class TableRow(Record):
    """One role of Table 1."""

    role: str
    teacher: TableHead | None = None
    student: TableHead | None = None


class Matched(Record):
    """A teacher component that has the role, and its partner."""

    teacher: ComponentName
    student: ComponentName
    similarity: float
    same_role: bool


class Merged(Record):
    """Several teacher components with one partner."""

    student: ComponentName
    teachers: tuple[ComponentName, ...] = Field(min_length=2)
    same_role: bool


class PointsApart(Record):
    """What the student loses more than the teacher, in points."""

    points: float
    points_ci95: Interval | None = None


class Reliance(Record):
    """Drop with all components of the role ablated together, in both models."""

    teacher: Fall | None = None
    student: Fall | None = None
    difference: PointsApart | None = None


class Nearest(Record):
    """The head that comes closest to a role that its model's heads do not have."""

    component: ComponentName
    p: float
    score: float
    missing: tuple[str, ...] = ()


class RoleInBoth(Record):
    """One role in both models."""

    title: str
    source: str
    helps: bool = True
    status: str
    teacher: tuple[ComponentName, ...]
    student: tuple[ComponentName, ...]
    matches: tuple[Matched, ...]
    merges: tuple[Merged, ...]
    lost: tuple[ComponentName, ...]
    new: tuple[ComponentName, ...]
    reliance: Reliance
    nearest: dict[str, Nearest | None] = {}
    effects: dict[str, dict[ComponentName, Literal["helps", "hurts"] | None]] = {}

    def told(self, who: Literal["teacher", "student"]) -> tuple[str, ...]:
        """A model's components, each with what it does to the task where the role leaves that open."""
        names, effects = (self.teacher if who == "teacher" else self.student), self.effects.get(who, {})
        return tuple(f"{name} ({effects[name]})" if not self.helps and effects.get(name) else name for name in names)


class ComparedRoles(Record):
    """The key `roles` of `circuitkit.comparison/1`."""

    ablation: str
    alpha: float
    tested: dict[str, tuple[str, ...]]
    roles: dict[str, RoleInBoth]
    components: dict[str, dict[ComponentName, Holder]]
    table1: tuple[TableRow, ...]
