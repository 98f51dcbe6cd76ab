"""What an alignment found, saved and read back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from circuitkit.alignment.control import InitialisedControl
from circuitkit.alignment.examples import Example
from circuitkit.alignment.fingerprint_block import block_tensors, to_block
from circuitkit.alignment.fingerprint_result import FingerprintResult
from circuitkit.alignment.inheritance import Inheritance
from circuitkit.alignment.matching import Matching
from circuitkit.alignment.reading import read_alignment
from circuitkit.alignment.robustness import Robustness
from circuitkit.alignment.score import contributions
from circuitkit.alignment.scores import AlignmentScores
from circuitkit.alignment.screening import ScreenedScore, screened_score
from circuitkit.alignment.similarity.types import Similarity
from circuitkit.alignment.together import reading
from circuitkit.core.run_directory import save_run
from circuitkit.discovery.influence import Influence
from circuitkit.discovery.normalize import influence_unit

SCHEMA = "circuitkit.alignment/1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignmentResult:
    """How far a student carries a teacher's mechanism on one task.

    Attributes:
        teacher: Influence of the teacher's components, with the per-prompt effects behind it.
        student: The same of the student, on the same prompts.
        similarity: Similarities of all components.
        matching: The matched pairs.
        scores: Alignment A with its interval and nulls.
        control: The student before distillation; None if its origin is unknown or controls are off.
        robustness: What single ablations cost either model.
        inheritance: How far the matches repeat the layers that the student started from; None if unknown.
        examples: Attention of matched heads on a few prompts.
        task: Name, hash and prompt counts of the task.
        settings: Every option.
        made_with: Versions, device, dtype and command.
        warnings: Everything that a reader must see beside the numbers.
        fingerprint: Fingerprints of both models and the score F; None if off, or if there are no counterfactuals.
    """

    teacher: Influence
    student: Influence
    similarity: Similarity
    matching: Matching
    scores: AlignmentScores
    control: InitialisedControl | None
    robustness: Robustness
    inheritance: Inheritance | None
    examples: tuple[Example, ...]
    task: Mapping[str, Any]
    settings: Mapping[str, Any]
    made_with: Mapping[str, Any]
    warnings: tuple[str, ...]
    fingerprint: FingerprintResult | None = None

    @property
    def score(self) -> float:
        """Alignment A (Eq. 8). Read it beside its null, the circuit alignment and the controls."""
        return self.scores.score

    @property
    def screen(self) -> ScreenedScore | None:
        """What was estimated, and its error in the score; None where everything was measured exactly."""
        return screened_score(self.matching, self.teacher, self.student, top_k=self.settings["top_k"])

    @property
    def reading(self) -> str | None:
        """What A and F mean beside each other, in a sentence; None without F."""
        if self.fingerprint is None:
            return None
        able = self.robustness.teacher is not None and self.robustness.student is not None
        before = None if self.control is None else self.control.score
        return reading(self.scores, before, self.fingerprint.scores, self.fingerprint.nulls, able=able)

    def pairs_frame(self) -> pd.DataFrame:
        """One row a matched pair, the teacher's most influential component first."""
        frame = pd.DataFrame(self._pairs())
        return frame.sort_values("teacher_influence", ascending=False, kind="stable", ignore_index=True)

    def _pairs(self) -> list[dict[str, Any]]:
        m, influences = self.matching, (self.teacher.values, self.student.values)
        columns = {
            "teacher": [str(self.teacher.components[i]) for i in m.teacher.tolist()],
            "student": [str(self.student.components[i]) for i in m.student.tolist()],
            "similarity": m.similarity.tolist(),
            "teacher_influence": influences[0][m.teacher].tolist(),
            "student_influence": influences[1][m.student].tolist(),
            "contribution": contributions(m, *influences).tolist(),
            "weight": m.weight.tolist(),
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract of `circuitkit.alignment/1`."""
        sides = {"teacher": self.teacher, "student": self.student}
        baselines = {name: side.baseline for name, side in sides.items()}
        screen = self.screen
        unmatched = {"teacher": self.matching.unmatched_teacher, "student": self.matching.unmatched_student}
        return {
            "schema": SCHEMA,
            **{name: asdict(side.model) for name, side in sides.items()},
            "task": dict(self.task),
            "settings": dict(self.settings),
            **self.made_with,
            "units": _units(self.teacher),
            **{
                f"{name}_logit_diff": {"mean": b.mean, "ci95": b.ci95, "accuracy": b.accuracy}
                for name, b in baselines.items()
            },
            "alignment": self.scores.to_dict(),
            "fingerprint": self._fingerprint(),
            "controls": {"initialised_only": None if self.control is None else self.control.to_dict()},
            "robustness": self.robustness.to_dict(),
            "inheritance": None if self.inheritance is None else self.inheritance.to_dict(),
            "screen": None if screen is None else screen.to_dict(),
            "warnings": list(self.warnings),
            "similarity": {"heads": self.similarity.method_heads, "mlps": self.similarity.method_mlps},
            "pairs": self._pairs(),
            "unmatched": {name: [str(sides[name].components[i]) for i in left] for name, left in unmatched.items()},
            "influence": {name: side.table() for name, side in sides.items()},
            "components": {name: [str(c) for c in side.components] for name, side in sides.items()},
            "notices": {
                "teacher": list(self.teacher.notices),
                "student": list(self.student.notices),
                "similarity": list(self.similarity.notices),
            },
            "examples": [example.to_dict() for example in self.examples],
        }

    def _fingerprint(self) -> dict[str, Any] | None:
        sentence = self.reading
        return None if self.fingerprint is None or sentence is None else to_block(self.fingerprint, reading=sentence)

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
        """The tensors saved beside the JSON, and the names of their axes."""
        tensors: dict[str, Tensor] = {
            "similarity.heads": self.similarity.heads,
            "similarity.mlps": self.similarity.mlps,
        }
        axes: dict[str, tuple[str, ...]] = {
            "similarity.heads": ("teacher_head", "student_head"),
            "similarity.mlps": ("teacher_mlp", "student_mlp"),
        }
        for name, side in (("teacher", self.teacher), ("student", self.student)):
            own, their_axes = side.tensors()
            tensors |= {f"{name}.{what}": tensor for what, tensor in own.items()}
            axes |= {f"{name}.{what}": named for what, named in their_axes.items()}
        for i, example in enumerate(self.examples):
            for name, patterns in (
                ("teacher", example.teacher_patterns),
                ("student", example.student_patterns),
            ):
                tensors[f"example{i}.{name}_patterns"] = patterns
                axes[f"example{i}.{name}_patterns"] = ("head_pair", "query", "key")
        if self.fingerprint is not None:
            own, their_axes = block_tensors(self.fingerprint)
            tensors |= own
            axes |= their_axes
        return tensors, axes

    def save(self, path: str | Path) -> Path:
        """Write a run directory (`result.json`, `tensors.safetensors`).

        Raises:
            ResultError: It cannot be written.
        """
        return save_run(Path(path), self.to_dict(), *self.tensors())

    @classmethod
    def load(cls, path: str | Path) -> "AlignmentResult":
        """Read back what `save` wrote.

        Raises:
            ResultError: There is no such run, it is broken, or it is another kind of result.
        """
        return cls(**read_alignment(Path(path), schema=SCHEMA))

    def __repr__(self) -> str:
        s = self.scores
        beside = "" if s.shuffle is None else f", shuffle null {s.shuffle.mean:.3f} (p = {s.shuffle.p:.3g})"
        F = "" if self.fingerprint is None else f"; F = {self.fingerprint.F:.3f}"
        return (
            f"AlignmentResult({self.teacher.model.name!r} -> {self.student.model.name!r} on {self.task['name']}: "
            f"A = {s.score:.3f}{beside}{F})"
        )


def _units(teacher: Influence) -> dict[str, str]:
    return {
        "drop": "logits",
        "influence": influence_unit(teacher.normalize, teacher.sign),
        "ci95": "of influence",
        "mean_drop": "percent of the model's own logit difference",
        "over_10": "share of components, 0 to 1",
        "brittleness": "percent points per unit of compression",
    }
