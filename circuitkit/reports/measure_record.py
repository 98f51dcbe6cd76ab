"""What notebooks need of label maps, principal components, similarities of MLPs and the logit lens."""

from pydantic import Field

from circuitkit.reports.patching_record import Lens
from circuitkit.reports.records import Record

Matrix = tuple[tuple[float, ...], ...]


class HeadMaps(Record):
    """Matrices of one head, query by key."""

    attention: Matrix
    score: Matrix


class LabelMapsRecord(Record):
    """Attention and scores between labels."""

    labels: tuple[str, ...] = Field(min_length=1)
    readable: Matrix
    heads: dict[str, HeadMaps] = Field(min_length=1)


class MlpPcaRecord(Record):
    """Principal components of two MLPs."""

    label: str
    mlps: tuple[str, str]
    answers: tuple[str, ...] = Field(min_length=1)
    teacher: Matrix
    student: Matrix
    teacher_variance: tuple[float, ...]
    student_variance: tuple[float, ...]
    cosines: Matrix | None


class MlpSimilarityRecord(Record):
    """Similarity of all MLPs of two models."""

    method: str
    teacher: tuple[str, ...] = Field(min_length=1)
    student: tuple[str, ...] = Field(min_length=1)
    values: Matrix


LensRecord = Lens
