"""What the report of an alignment needs of `circuitkit.alignment/1`."""

from typing import Any

from pydantic import Field, model_validator

from circuitkit.reports.fingerprint_record import FingerprintRecord
from circuitkit.reports.records import ComponentName, Effects, Estimate, Interval, ModelCard, Record, TaskCard


class Pair(Record):
    """One match and what it adds to the score (Eq. 8)."""

    teacher: ComponentName
    student: ComponentName
    similarity: float
    teacher_influence: float
    student_influence: float
    contribution: float
    weight: float = 1.0


class ShuffleNull(Record):
    """The score with the student's influences permuted within each type."""

    mean: float
    sd: float
    p: float
    n: int


class RandomNull(Record):
    """The score of students with the same configuration and fresh weights."""

    mean: float
    scores: tuple[float, ...]


class Nulls(Record):
    """The nulls that were asked for."""

    shuffle: ShuffleNull | None = None
    random_student: RandomNull | None = None


class Score(Record):
    """Alignment A (Eq. 8), its nulls and the scores derived from it."""

    score: float
    ci95: Interval | None = None
    null: Nulls | None = None
    calibrated: float | None = None
    circuit_alignment: float | None = None
    circuit_ci95: Interval | None = None


class InitialisedOnly(Record):
    """The student before distillation: layers copied, nothing learned."""

    score: float
    logit_diff: Estimate


class Controls(Record):
    """Controls that were measured."""

    initialised_only: InitialisedOnly | None = None


class Retention(Record):
    """How much of a model's logit difference single ablations take away, in percent points."""

    mean_drop: float
    ci95: Interval | None = None
    over_10: float
    over_20: float


class Robustness(Record):
    """Both models' retention; None where the logit difference is not clearly above zero."""

    teacher: Retention | None = None
    student: Retention | None = None
    compression: float | None = None
    brittleness: float | None = None
    brittleness_ci95: Interval | None = None


class Inheritance(Record):
    """Which teacher layer each student layer was initialised from."""

    map: dict[int, int]
    share_of_matches_following_copy: float | None = None


class HeadPair(Record):
    """Names of the two heads of one attention figure."""

    teacher: str
    student: str


class Example(Record):
    """One prompt whose attention patterns were saved."""

    prompt: str
    corrupted: str | None = None
    teacher_tokens: tuple[str, ...]
    student_tokens: tuple[str, ...]
    correct: str
    incorrect: str
    heads: tuple[HeadPair, ...]


class Influences(Record):
    """Effects of every component of both models."""

    teacher: Effects
    student: Effects


class Unmatched(Record):
    """Components that the matching left alone."""

    teacher: tuple[str, ...] = ()
    student: tuple[str, ...] = ()


class AlignmentRecord(Record):
    """`circuitkit.alignment/1`."""

    teacher: ModelCard
    student: ModelCard
    task: TaskCard
    settings: dict[str, Any]
    teacher_logit_diff: Estimate
    student_logit_diff: Estimate
    influence: Influences
    pairs: tuple[Pair, ...] = Field(min_length=1)
    alignment: Score
    robustness: Robustness
    controls: Controls = Controls()
    warnings: tuple[str, ...] = ()
    inheritance: Inheritance | None = None
    unmatched: Unmatched = Unmatched()
    examples: tuple[Example, ...] = ()
    fingerprint: FingerprintRecord | None = None

    @model_validator(mode="after")
    def _pairs_are_measured(self) -> "AlignmentRecord":
        for pair in self.pairs:
            if pair.teacher not in self.influence.teacher or pair.student not in self.influence.student:
                raise ValueError(f"pair {pair.teacher} - {pair.student} names a component without an influence")
        return self
