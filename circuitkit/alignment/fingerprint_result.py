"""What a comparison of fingerprints found: scores with intervals and nulls, matches, the fingerprints themselves."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.fingerprint_matching import NOBODY, match_merging
from circuitkit.alignment.fingerprint_screen import FingerprintScreen, score_range
from circuitkit.alignment.fingerprint_sweep import Fingerprints
from circuitkit.models.info import ModelInfo

SCHEMA = "circuitkit.fingerprint/1"
FORMS = ("F", "one_to_one", "profile", "ceiling")


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintScore:
    """One score, between 0 and 1.

    Attributes:
        score: It.
        ci95: Bootstrap interval; None where intervals are off. Of the ceiling, at this number of prompts; of the
            other forms, of the score of very many prompts, which noise does not lower.
    """

    score: float
    ci95: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"score": self.score, "ci95": None if self.ci95 is None else list(self.ci95)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintNull:
    """F where there is nothing to find.

    Attributes:
        mean: Mean of the null scores.
        ci95: What 95% of them lie between; None of fewer than 40.
        p: (1 + number of null scores >= F) / (1 + number of them).
        n: How many there are.
    """

    mean: float
    ci95: tuple[float, float] | None
    p: float
    n: int

    @classmethod
    def of(cls, F: float, scores: Float[Tensor, " draw"]) -> "FingerprintNull":
        """Summarise null scores beside the score found."""
        tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
        low, high = scores.double().quantile(tails).tolist()
        at_least = int((scores >= F - 1e-12).sum())  # sums in another order may differ by rounding
        return cls(
            mean=float(scores.mean()),
            ci95=(low, high) if len(scores) >= 40 else None,
            p=(1 + at_least) / (1 + len(scores)),
            n=len(scores),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "ci95": None if self.ci95 is None else list(self.ci95)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FingerprintResult:
    """How far a student's components do to the answer what its teacher's do.

    Attributes:
        models: Teacher and student.
        teacher: The teacher's fingerprints.
        student: The student's, on the same prompts, in the same kinds and groups.
        scores: By form (`F`, `one_to_one`, `profile`, `ceiling`).
        noise: Mean of the bootstrap draws of F minus F: about what chance takes off F at this number of prompts, or
            less than that; None where intervals are off.
        nulls: By kind (`shuffled`, and `random_student` if it was asked for).
        screens: What was left out of each model; None where all components were measured.
        task: Name, hash and prompt counts of the task.
        settings: Every option.
        made_with: Versions, device, dtype and command.
        notices: Everything that a reader must see beside the numbers.
    """

    models: tuple[ModelInfo, ModelInfo]
    teacher: Fingerprints
    student: Fingerprints
    scores: Mapping[str, FingerprintScore]
    noise: float | None
    nulls: Mapping[str, FingerprintNull]
    screens: tuple[FingerprintScreen | None, FingerprintScreen | None]
    task: Mapping[str, Any]
    settings: Mapping[str, Any]
    made_with: Mapping[str, Any]
    notices: tuple[str, ...]

    @property
    def F(self) -> float:
        """The score: shared mass over mass, between 0 and 1. Read it beside its null and both logit differences."""
        return self.scores["F"].score

    @property
    def pairs(self) -> dict[str, str | None]:
        """Teacher component -> the student component that stands for it, matched on all prompts."""
        may = self.teacher.is_head[:, None] == self.student.is_head[None]
        found = match_merging(*(side.cells.double().mean(-1)[None] for side in (self.teacher, self.student)), may=may)
        return {
            str(component): None if seat == NOBODY else str(self.student.components[seat])
            for component, seat in zip(self.teacher.components, found[0].tolist(), strict=True)
        }

    @property
    def merged(self) -> dict[str, list[str]]:
        """Student component -> the teacher components that it stands for, the heaviest first, where two or more."""
        weight = dict(zip(map(str, self.teacher.components), self.teacher.mean.abs().sum((1, 2)).tolist(), strict=True))
        found: dict[str, list[str]] = {}
        for one, other in self.pairs.items():
            if other is not None:
                found.setdefault(other, []).append(one)
        return {name: sorted(some, key=lambda c: -weight[c]) for name, some in found.items() if len(some) > 1}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; fingerprints are in logits."""
        sides = {"teacher": self.teacher, "student": self.student}
        reach = score_range(self.F, *self.screens)
        return {
            "schema": SCHEMA,
            **{name: asdict(info) for name, info in zip(sides, self.models, strict=True)},
            "task": dict(self.task),
            "settings": dict(self.settings),
            **self.made_with,
            "units": {"scores": "share of the mass of both models, 0 to 1", "fingerprints": "logits"},
            **{
                f"{name}_logit_diff": {
                    "mean": side.clean.double().mean().item(),
                    "accuracy": (side.clean > 0).double().mean().item(),
                }
                for name, side in sides.items()
            },
            **{form: self.scores[form].to_dict() for form in FORMS},
            "noise": self.noise,
            "nulls": {name: null.to_dict() for name, null in self.nulls.items()},
            "kinds": list(self.teacher.kinds),
            "groups": list(self.teacher.groups),
            "pairs": self.pairs,
            "merged": self.merged,
            "fingerprints": {name: _table(side) for name, side in sides.items()},
            "screen": None
            if reach is None
            else {
                **{name: screen.to_dict() for name, screen in zip(sides, self.screens, strict=True) if screen},
                "F_of_all_between": list(reach),
            },
            "notices": list(self.notices),
        }

    def frame(self) -> pd.DataFrame:
        """One row a component, kind and group of either model, in logits; the heaviest components first."""
        rows = [
            {"model": name, "component": component, "kind": kind, "group": group, "effect": effect}
            for name, side in (("teacher", self.teacher), ("student", self.student))
            for component, kinds in sorted(_table(side).items(), key=lambda item: -_weight(item[1]))
            for kind, groups in kinds.items()
            for group, effect in groups.items()
        ]
        return pd.DataFrame(rows, columns=["model", "component", "kind", "group", "effect"])

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
        """The per-prompt effects to be saved beside the JSON, and the names of their axes."""
        tensors: dict[str, Tensor] = {}
        axes: dict[str, tuple[str, ...]] = {}
        for name, side in (("teacher", self.teacher), ("student", self.student)):
            tensors |= {f"{name}.effects": side.effects, f"{name}.clean": side.clean}
            axes |= {f"{name}.effects": ("component", "kind", "group", "prompt"), f"{name}.clean": ("prompt",)}
        return tensors, axes

    def __repr__(self) -> str:
        names = " -> ".join(repr(info.name) for info in self.models)
        return f"FingerprintResult({names} on {self.task['name']}: F = {self.F:.3f})"


def _table(side: Fingerprints) -> dict[str, dict[str, dict[str, float]]]:
    """Component -> kind -> group -> mean effect, in logits."""
    return {
        str(component): {
            kind: dict(zip(side.groups, row, strict=True)) for kind, row in zip(side.kinds, rows, strict=True)
        }
        for component, rows in zip(side.components, side.mean.tolist(), strict=True)
    }


def _weight(kinds: Mapping[str, Mapping[str, float]]) -> float:
    return sum(abs(effect) for groups in kinds.values() for effect in groups.values())
