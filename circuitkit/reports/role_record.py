"""What the role page needs of a saved result, checked when it is read."""

from typing import Literal

from pydantic import Field

from circuitkit.reports.records import ComponentName, Effects, Estimate, Interval, ModelCard, Record, TaskCard

ROLES = "circuitkit.roles/1"


class Evidence(Record):
    """One kind of evidence for one role from one head."""

    score: float
    p: float
    ci95: Interval | None = None
    baseline: float | None = None
    chance: float | None = None
    rival: float | None = None


class AllEvidence(Record):
    """Every kind; None where it does not apply or was not measured because the head had failed already."""

    attention: Evidence | None = None
    random: Evidence | None = None
    qk: Evidence | None = None
    ov: Evidence | None = None
    write: Evidence | None = None


class RoleScore(Record):
    """One head tested for one role."""

    score: float
    p: float
    q: float
    r: float | None = None  # q told in runs that have none
    claimed: bool
    effect: Literal["helps", "hurts"] | None = None
    implied_by: tuple[str, ...] = ()
    ci95: Interval | None = None
    evidence: AllEvidence


class Definition(Record):
    """What a role claims."""

    title: str
    source: str
    n_prompts: int
    side: Literal["clean", "corrupted"]
    rule: str | None = None
    attention: bool
    causal: tuple[str, ...]
    helps: bool
    write: str | None = None
    implied_by: tuple[str, ...] = ()


class Spread(Record):
    """A mean with its interval."""

    mean: float
    ci95: Interval | None = None


class MlpRow(Record):
    """What one MLP adds and what can be read off the stream around it."""

    direct: Spread | None = None
    lens_before: Spread
    lens_after: Spread
    rank_before: float
    rank_after: float


class ShownHead(Record):
    """A head whose attention is drawn, and its roles."""

    head: ComponentName
    roles: tuple[str, ...]


class RoleExampleRecord(Record):
    """One prompt with the heads whose attention on it is drawn."""

    prompt: str
    corrupted: str | None = None
    correct: str
    incorrect: str
    tokens: tuple[str, ...] = Field(min_length=1)
    heads: tuple[ShownHead, ...] = Field(min_length=1)
    reads: dict[str, tuple[tuple[int, int], ...]]


class RoleRecord(Record):
    """`circuitkit.roles/1`."""

    model: ModelCard
    task: TaskCard
    settings: dict[str, int | float | str | None]
    logit_diff: Estimate
    definitions: dict[str, Definition]
    absent: dict[str, str] = {}
    scores: dict[ComponentName, dict[str, RoleScore]]
    roles: dict[ComponentName, tuple[str, ...]]
    influence: Effects
    mlps: dict[ComponentName, MlpRow]
    examples: tuple[RoleExampleRecord, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def without_r(self) -> bool:
        """Whether claims of this run were made by q, as those of earlier versions were."""
        return any(score.r is None for tests in self.scores.values() for score in tests.values())

    def told(self, component: str, role: str) -> str:
        """A role of a component in words: with what it does to the task, where the role leaves that open."""
        score = self.scores.get(component, {}).get(role)
        signed = role in self.definitions and not self.definitions[role].helps
        return f"{role} ({score.effect})" if signed and score is not None and score.effect is not None else role

    def roles_of(self, component: str) -> tuple[str, ...]:
        """The roles that a component is listed with, in words."""
        return tuple(self.told(component, role) for role in self.roles.get(component, ()))
