"""Do the matches only follow the layers that the student was initialised from?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuitkit.alignment.matching import Matching
from circuitkit.core.component import Component


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
