"""What the reports need of `circuitkit.circuit-sweep/1` and `circuitkit.comparison/1`."""

from typing import Any, Literal

from pydantic import Field

from circuitkit.reports.alignment_record import Robustness
from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.records import ComponentName, Interval, ModelCard, Record, TaskCard
from circuitkit.reports.role_comparison_record import ComparedRoles


class SweepPoint(Record):
    """The circuit at one value of the parameter and how good it is; None was not measured.

    `complement_share` is the share of the answer that is left without the circuit, `completeness` a gap in logits.
    """

    value: float
    n_nodes: int
    n_edges: int | None = None
    faithfulness: float | None = None
    ci95: Interval | None = None
    circuit_logit_diff: float | None = None
    complement_share: float | None = None
    completeness: float | None = None
    kl: float | None = None
    accuracy: float | None = None


class SweepRecord(Record):
    """`circuitkit.circuit-sweep/1`."""

    model: ModelCard
    task: TaskCard
    settings: dict[str, Any]
    parameter: Literal["threshold", "tau", "top"]
    points: tuple[SweepPoint, ...] = Field(min_length=1)
    warnings: tuple[str, ...] = ()


class MatchedPair(Record):
    """One match of a teacher's with a student's component."""

    teacher: ComponentName
    student: ComponentName
    similarity: float


class AlignmentScore(Record):
    """The alignment score of the two models, if it was computed."""

    score: float
    ci95: Interval | None = None


class Circuits(Record):
    """One circuit a model."""

    teacher: CircuitRecord
    student: CircuitRecord


class ComparisonRecord(Record):
    """`circuitkit.comparison/1`."""

    teacher: ModelCard
    student: ModelCard
    task: TaskCard
    settings: dict[str, Any]
    circuits: Circuits
    alignment: AlignmentScore | None = None
    robustness: Robustness | None = None
    pairs: tuple[MatchedPair, ...] | None = None
    roles: ComparedRoles | None = None
    warnings: tuple[str, ...] = ()
