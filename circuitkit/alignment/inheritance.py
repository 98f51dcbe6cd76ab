"""Do the matches only follow the layers that the student was initialised from?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuitkit.alignment.matching import Matching
from circuitkit.core.component import Component
from circuitkit.models.info import ModelInfo
from circuitkit.models.origin import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """The layers that a student started from, and how far the matching repeats them.

    Attributes:
        layers: Student layer -> teacher layer that it was initialised from.
        share: Share (0 to 1, by weight) of the pairs with a student layer of known origin that join a
            component with the very one that it was copied from: the layer, and for heads also the index.
            None where no pair has a known origin.
    """

    layers: Mapping[int, int]
    share: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "map": {str(student): teacher for student, teacher in self.layers.items()},
            "share_of_matches_following_copy": self.share,
        }


def trace_inheritance(
    layers: Mapping[int, int],
    matching: Matching,
    teacher_components: Sequence[Component],
    student_components: Sequence[Component],
) -> Inheritance:
    """Count the pairs that follow the copy."""
    known = followed = 0.0
    for t, s, weight in zip(
        matching.teacher.tolist(), matching.student.tolist(), matching.weight.tolist(), strict=True
    ):
        teacher, student = teacher_components[t], student_components[s]
        if student.layer in layers:
            known += weight
            followed += weight * (teacher == Component(layers[student.layer], student.head))
    return Inheritance(layers=dict(layers), share=followed / known if known else None)


def can_come_from(origin: Origin, teacher: ModelInfo, student: ModelInfo) -> bool:
    """Whether nothing speaks against a student having been initialised from a teacher."""
    return (
        not origin.excludes(teacher)
        and teacher.d_model == student.d_model
        and all(source < teacher.n_layers for source in origin.layers.values())
    )


def origin_notice(origin: Origin, teacher: ModelInfo) -> str | None:
    """What a reader must know about how far a student's stated origin can be trusted; None where it is proven."""
    if origin.excludes(teacher):
        return (
            f"The student says that it was made from {origin.teacher}; this teacher is another (or was loaded in "
            "another dtype), so the student before distillation was not measured."
        )
    if origin.teacher_sha256 is None:
        return (
            f"The student's file of origin names the teacher {origin.teacher} and does not identify its weights: "
            "what is said about inherited layers holds only if this is that teacher."
        )
    return None
