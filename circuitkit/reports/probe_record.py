"""What the reports need of `circuitkit.probe/1`."""

from typing import Any, Literal

from pydantic import Field, model_validator

from circuitkit.reports.records import Interval, ModelCard, Record, TaskCard

PROBE = "circuitkit.probe/1"


class ProbeRow(Record):
    """How well one layer or head tells a target, beside the same with shuffled labels."""

    name: str
    layer: int = Field(ge=0)
    head: int | None = None
    value: float
    ci95: Interval | None = None
    control: float
    control_ci95: Interval | None = None
    selectivity: float
    selectivity_ci95: Interval | None = None
    above_embedding: float
    p: float | None = None
    decodable: bool


class ProbeSplit(Record):
    """By what the prompts were held out."""

    kind: str
    rule: str
    n_contents: int
    folds: int


class ProbeCurve(Record):
    """One target in one model; the first row is the embedding."""

    who: Literal["model", "student", "random"]
    target: str
    about: str
    metric: Literal["accuracy", "AUROC"]
    chance: float
    n_samples: int
    n_classes: tuple[int, ...]
    split: ProbeSplit
    rows: tuple[ProbeRow, ...] = Field(min_length=1)
    decodable_from: str | None = None
    best: str

    @model_validator(mode="after")
    def _rows_are_there(self) -> "ProbeCurve":
        names = {row.name for row in self.rows}
        for name in (self.best, self.decodable_from):
            if name is not None and name not in names:
                raise ValueError(f"no row is called {name!r}")
        return self

    @property
    def tested(self) -> bool:
        """Whether its rows have p-values; an AUROC has none without bootstrap draws."""
        return len(self.rows) == 1 or any(row.p is not None for row in self.rows)

    def row(self, name: str) -> ProbeRow:
        """The row of a name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def best_row(self) -> ProbeRow:
        """The row with the highest value."""
        return self.row(self.best)


class ProbeCost(Record):
    """What was paid."""

    fits: int


class ProbeRecord(Record):
    """`circuitkit.probe/1`."""

    model: ModelCard
    student: ModelCard | None = None
    task: TaskCard
    settings: dict[str, Any]
    cost: ProbeCost
    curves: tuple[ProbeCurve, ...] = Field(min_length=1)
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _models_are_there(self) -> "ProbeRecord":
        if self.student is None and any(curve.who == "student" for curve in self.curves):
            raise ValueError("curves of a student, and no student is named")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets in order."""
        return tuple(dict.fromkeys(curve.target for curve in self.curves))

    def of(self, who: str) -> tuple[ProbeCurve, ...]:
        """The curves of one model."""
        return tuple(curve for curve in self.curves if curve.who == who)
