"""Where a student comes from."""

from collections.abc import Mapping
from dataclasses import dataclass

from circuitkit.models.info import ModelInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a student says about the teacher that it was initialised from.

    Attributes:
        teacher: What the student calls that teacher; not compared with anything, for a model has many names.
        teacher_sha256: Digest of that teacher's weights as loaded; None where the student does not say.
        layers: Student layer -> teacher layer that it was initialised from.
    """

    teacher: str
    teacher_sha256: str | None
    layers: Mapping[int, int]

    def excludes(self, teacher: ModelInfo) -> bool:
        """Whether a model is certainly not the teacher that is meant; one loaded in another dtype counts as another."""
        return self.teacher_sha256 is not None and self.teacher_sha256 != teacher.weights_sha256
