"""What the report of an alignment needs of its block `fingerprint`."""

from pydantic import Field, model_validator

from circuitkit.reports.records import ComponentName, Interval, Record

Reactions = dict[ComponentName, dict[str, dict[str, float]]]
"""Component to counterfactual kind to group of positions to the fall of the logit difference, in logits."""


class FormOfF(Record):
    """One form of the score, between 0 and 1."""

    score: float
    ci95: Interval | None = None


class FingerprintNullRecord(Record):
    """F where there is nothing to find."""

    mean: float
    ci95: Interval | None = None
    p: float
    n: int


class FingerprintPrompts(Record):
    """The prompts that fingerprints were taken on."""

    n_prompts: int
    n_dropped: int = 0


class SidesOfF(Record):
    """The fingerprints of both models."""

    teacher: Reactions = Field(min_length=1)
    student: Reactions = Field(min_length=1)


class FingerprintRecord(Record):
    """Fingerprints of two models and the scores of their comparison."""

    F: FormOfF
    one_to_one: FormOfF
    profile: FormOfF
    ceiling: FormOfF
    nulls: dict[str, FingerprintNullRecord] = {}
    kinds: tuple[str, ...] = Field(min_length=1)
    groups: tuple[str, ...] = Field(min_length=1)
    task: FingerprintPrompts
    pairs: dict[ComponentName, ComponentName | None]
    fingerprints: SidesOfF
    reading: str
    notices: tuple[str, ...] = ()
    patched_runs_at_most: dict[str, int] = {}

    @model_validator(mode="after")
    def _tables_are_whole(self) -> "FingerprintRecord":
        for who, side in (("teacher", self.fingerprints.teacher), ("student", self.fingerprints.student)):
            for name, kinds in side.items():
                if set(kinds) != set(self.kinds) or any(set(row) != set(self.groups) for row in kinds.values()):
                    raise ValueError(f"the {who}'s {name} lacks a counterfactual kind or a group of positions")
        for one, other in self.pairs.items():
            if one not in self.fingerprints.teacher or (other is not None and other not in self.fingerprints.student):
                raise ValueError(f"pair {one} - {other} names a component without a fingerprint")
        return self
