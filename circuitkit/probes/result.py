"""What linear probes could tell of each target at each layer or head: how it prints and saves."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.run_directory import save_run
from circuitkit.models.info import ModelInfo
from circuitkit.probes.features import EMBED, Row
from circuitkit.probes.question import Question

SCHEMA = "circuitkit.probe/1"
Who = Literal["model", "student", "random"]
ALPHA = 0.05
LEAST_GAIN = 0.02
"""Accuracy or AUROC above embedding and chance that is worth a claim: paired tests find far smaller effects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScore:
    """How well a target can be told from one row of activations.

    Attributes:
        row: The layer or head; the first of a curve is the embedding baseline.
        value: Accuracy or AUROC on held-out samples.
        ci95: Its 95% interval: Wilson for an accuracy, bootstrap over prompts for an AUROC.
        control: The same of probes fitted on shuffled labels, mean over the shuffles.
        control_ci95: Its interval, as if it had been one shuffle; it does not show how shuffles differ.
        selectivity: `value` minus `control` (Hewitt & Liang 2019).
        selectivity_ci95: Bootstrap over prompts.
        above_embedding: `value` minus that of the baseline row.
        above_chance: `value` minus that of a guess.
        p: The larger of the one-sided p-values against the baseline and against chance, adjusted over the rows of
            the curve (Holm); None for the baseline row, and for an AUROC without bootstrap draws.
    """

    row: Row
    value: float
    ci95: tuple[float, float] | None
    control: float
    control_ci95: tuple[float, float] | None
    selectivity: float
    selectivity_ci95: tuple[float, float] | None
    above_embedding: float
    above_chance: float
    p: float | None

    @property
    def decodable(self) -> bool:
        """Whether more can be told here than from the embedding and than by chance: by 0.02, and adjusted p < 0.05."""
        return self.p is not None and self.p < ALPHA and min(self.above_embedding, self.above_chance) >= LEAST_GAIN

    def to_dict(self) -> dict[str, Any]:
        """One entry of `curves[].rows`."""
        return {
            **asdict(self.row),
            **{
                name: _listed(getattr(self, name))
                for name in (
                    *("value", "ci95", "control", "control_ci95", "selectivity", "selectivity_ci95"),
                    *("above_embedding", "above_chance", "p", "decodable"),
                )
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """One target in one model, over its layers or heads.

    Attributes:
        who: Whose activations: the model's, the student's, or those of the model with random weights.
        question: The target and its split.
        rows: One score a row.
        said: What the probes said of each held-out sample: hits, or decision values.
        control: The same of each shuffle.
        stalled: Fits that did not converge.
    """

    who: Who
    question: Question
    rows: tuple[RowScore, ...]
    said: Float[Tensor, "row sample"]
    control: Float[Tensor, "row shuffle sample"]
    stalled: int

    @property
    def first(self) -> RowScore | None:
        """The first row at which the target is decodable; None where it is at none."""
        return next((row for row in self.rows if row.decodable), None)

    @property
    def tested(self) -> bool:
        """Whether its rows have p-values; an AUROC has none without bootstrap draws."""
        return len(self.rows) == 1 or any(row.p is not None for row in self.rows)

    @property
    def best(self) -> RowScore:
        """The row with the highest value, the first of several."""
        return max(self.rows, key=lambda row: row.value)

    def to_dict(self) -> dict[str, Any]:
        """One entry of `curves`."""
        q, first = self.question, self.first
        return {
            "who": self.who,
            "target": q.target,
            "about": q.about,
            "at": q.reading.place,
            "metric": q.metric,
            "chance": q.chance,
            "n_samples": q.classes.shape[1],
            "n_classes": [len(names) for names in q.names],
            "classes": [list(names) for names in q.names],
            "split": {
                "kind": q.folds.content.kind,
                "rule": q.folds.content.rule,
                "n_contents": q.folds.n_keys,
                "folds": q.folds.n_folds,
            },
            "rows": [row.to_dict() for row in self.rows],
            "decodable_from": None if first is None else first.row.name,
            "best": self.best.row.name,
            "not_converged": self.stalled,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProbeResult:
    """Curves of every target, in one model or in a teacher and its student.

    Attributes:
        model: The model, or the teacher.
        student: The student; None where one model was probed.
        task: Name, hash and prompt counts of the task.
        curves: One a target and model.
        n_fits: Logistic regressions that were fitted.
        settings: Every option.
        made_with: Versions, device, dtype and command.
        notices: Plain facts about the prompts that a reader must see.
    """

    model: ModelInfo
    student: ModelInfo | None
    task: Mapping[str, Any]
    curves: tuple[Curve, ...]
    n_fits: int
    settings: Mapping[str, Any]
    made_with: Mapping[str, Any]
    notices: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that a reader must see beside the numbers."""
        found = [*self.notices, *(notice for curve in self.curves for notice in curve.question.notices)]
        if untested := list(dict.fromkeys(curve.question.target for curve in self.curves if not curve.tested)):
            found.append(
                f"Without bootstrap draws an AUROC has no p-value: from where {', '.join(untested)} can be told is not "
                "known. Give --bootstrap 1000."
            )
        stalled = sum(curve.stalled for curve in self.curves)
        if stalled:
            found.append(f"{stalled} of {self.n_fits} fits did not converge; a stronger penalty (--strength) helps.")
        return tuple(dict.fromkeys(found))

    def curve(self, target: str, who: Who = "model") -> Curve:
        """The curve of a target."""
        return next(curve for curve in self.curves if (curve.question.target, curve.who) == (target, who))

    def frame(self) -> pd.DataFrame:
        """One row a target, model and layer or head."""
        rows = [
            {"who": curve.who, "target": curve.question.target, "metric": curve.question.metric, **row.to_dict()}
            for curve in self.curves
            for row in curve.rows
        ]
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract of `circuitkit.probe/1`."""
        return {
            "schema": SCHEMA,
            "model": asdict(self.model),
            "student": None if self.student is None else asdict(self.student),
            "task": dict(self.task),
            "settings": dict(self.settings),
            **self.made_with,
            "units": {"accuracy": "share of held-out prompts", "AUROC": "chance of a right order", "p": "adjusted"},
            "baseline": EMBED,
            "cost": {"fits": self.n_fits},
            "curves": [curve.to_dict() for curve in self.curves],
            "warnings": list(self.warnings),
        }

    def save(self, path: str | Path) -> Path:
        """Write a run directory (`result.json`, `tensors.safetensors`).

        Raises:
            ResultError: It cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        axes: dict[str, tuple[str, ...]] = {}
        for curve in self.curves:
            for what, value, names in (
                ("said", curve.said, ("row", "sample")),
                ("control", curve.control, ("row", "shuffle", "sample")),
                ("class", curve.question.classes, ("part", "sample")),
                ("fold", curve.question.folds.fold, ("sample",)),
                ("prompt", curve.question.prompts, ("sample",)),
            ):
                name = f"{curve.who}.{curve.question.target}.{what}"
                tensors[name], axes[name] = value.clone(), names
        return save_run(Path(path), self.to_dict(), tensors, axes)


def _listed(value: Any) -> Any:  # noqa: ANN401 - whatever a score holds
    return list(value) if isinstance(value, tuple) else value
