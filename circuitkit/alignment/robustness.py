"""How much of its logit difference a model loses when single components are ablated (Table 2, App. K, L)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval, prompt_means
from circuitkit.discovery.baseline import measure_baseline
from circuitkit.discovery.influence import Influence

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Single-component drops of one model, summarised.

    Attributes:
        mean_drop: Mean drop over all heads and MLPs, in percent of the model's own logit difference.
        over_10: Share (0 to 1) of components whose drop is over 10%.
        over_20: Share of components whose drop is over 20%.
        ci95: Interval of `mean_drop`; None if no bootstrap was asked for, or if the baseline of any draw is not
            above 0, so that percentages of it mean nothing. The same holds for the other intervals.
        over_10_ci95: Interval of `over_10`.
        over_20_ci95: Interval of `over_20`.
    """

    mean_drop: float
    over_10: float
    over_20: float
    ci95: Interval | None = None
    over_10_ci95: Interval | None = None
    over_20_ci95: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "mean_drop": self.mean_drop,
            "ci95": self.ci95,
            "over_10": self.over_10,
            "over_10_ci95": self.over_10_ci95,
            "over_20": self.over_20,
            "over_20_ci95": self.over_20_ci95,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Retention":
        """Read back what `to_dict` wrote."""
        return cls(
            mean_drop=record["mean_drop"],
            over_10=record["over_10"],
            over_20=record["over_20"],
            ci95=_bounds(record["ci95"]),
            over_10_ci95=_bounds(record["over_10_ci95"]),
            over_20_ci95=_bounds(record["over_20_ci95"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    """Retention of both models and what it costs to be smaller.

    Attributes:
        teacher: None if the teacher's logit difference is not clearly above 0: no percentages of noise.
        student: The same of the student.
        compression: C = 1 - parameters of the student / parameters of the teacher.
        brittleness: (student's mean drop - teacher's) / C, in percent points per unit of compression; None
            if a mean drop is missing or the student is not smaller.
        brittleness_ci95: Its interval, both models resampled by the same prompts; None also where a draw of
            either has no baseline above 0.
    """

    teacher: Retention | None
    student: Retention | None
    compression: float
    brittleness: float | None
    brittleness_ci95: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "teacher": None if self.teacher is None else self.teacher.to_dict(),
            "student": None if self.student is None else self.student.to_dict(),
            "compression": self.compression,
            "brittleness": self.brittleness,
            "brittleness_ci95": self.brittleness_ci95,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Robustness":
        """Read back what `to_dict` wrote."""
        sides = {name: record[name] for name in ("teacher", "student")}
        return cls(
            **{name: None if side is None else Retention.from_dict(side) for name, side in sides.items()},
            compression=record["compression"],
            brittleness=record["brittleness"],
            brittleness_ci95=_bounds(record["brittleness_ci95"]),
        )


def _bounds(record: Sequence[float] | None) -> Interval | None:
    return None if record is None else (record[0], record[1])


def percent_drops(
    clean: Float[Tensor, "*draw"], ablated: Float[Tensor, "*draw component"]
) -> Float[Tensor, "*draw component"]:
    """clip(100 - retained, 0, 100) with retained = 100 dl_ablated / dl_base (App. K).

    Args:
        clean: Mean logit difference of the intact model.
        ablated: Mean logit difference with each component ablated.
    """
    return (100 - 100 * ablated / clean.unsqueeze(-1)).clamp(0, 100)


def retention(
    clean: Float[Tensor, " prompt"],
    ablated: Float[Tensor, "component prompt"],
    *,
    weights: BootstrapWeights | None = None,
    errors: Float[Tensor, "draw component"] | None = None,
) -> Retention | None:
    """Summarise one model's single-component drops, or None if its baseline is not clearly above 0.

    Args:
        clean: Logit difference of the intact model, in logits.
        ablated: Logit difference with each component ablated, in logits.
        weights: Share of each prompt in each bootstrap draw; None for no intervals.
        errors: What estimated mean drops may be off by in each draw, in logits; None where all were measured.
    """
    if not measure_baseline(clean, None).clear:
        return None
    point = percent_drops(clean.double().mean(), prompt_means(ablated))
    draws = None if weights is None else _drawn_drops(clean, ablated, weights, errors)
    return Retention(
        mean_drop=float(point.mean()),
        over_10=float(_share_over(point, 10)),
        over_20=float(_share_over(point, 20)),
        ci95=None if draws is None else _interval(draws.mean(1)),
        over_10_ci95=None if draws is None else _interval(_share_over(draws, 10)),
        over_20_ci95=None if draws is None else _interval(_share_over(draws, 20)),
    )


def measure_robustness(
    teacher: Influence, student: Influence, *, weights: BootstrapWeights | None = None
) -> Robustness:
    """Retention of both models, compression and brittleness.

    Args:
        teacher: Clean and ablated logit differences of the teacher.
        student: The same of the student, on the same prompts.
        weights: Share of each prompt in each bootstrap draw; None for no intervals.
    """
    compression = 1 - student.model.n_params / teacher.model.n_params
    sides = teacher, student
    errors = [None if weights is None else side.drawn_errors(weights.n_draws) for side in sides]
    kept = [
        retention(side.clean, side.ablated, weights=weights, errors=error)
        for side, error in zip(sides, errors, strict=True)
    ]
    beta, beta_ci = None, None
    if kept[0] is not None and kept[1] is not None and compression > 0:
        beta = brittleness(kept[0].mean_drop, kept[1].mean_drop, compression)
        if weights is not None:
            drawn = [
                _drawn_drops(side.clean, side.ablated, weights, error)
                for side, error in zip(sides, errors, strict=True)
            ]
            if drawn[0] is not None and drawn[1] is not None:
                beta_ci = _interval((drawn[1].mean(1) - drawn[0].mean(1)) / compression)
    return Robustness(
        teacher=kept[0],
        student=kept[1],
        compression=compression,
        brittleness=beta,
        brittleness_ci95=beta_ci,
    )


def brittleness(teacher_drop: float, student_drop: float, compression: float) -> float:
    """Beta = (drop_S - drop_T) / C, in percent points per unit of compression (App. L)."""
    return (student_drop - teacher_drop) / compression


def _drawn_drops(
    clean: Float[Tensor, " prompt"],
    ablated: Float[Tensor, "component prompt"],
    weights: BootstrapWeights,
    errors: Float[Tensor, "draw component"] | None,
) -> Float[Tensor, "draw component"] | None:
    """Drops of every bootstrap draw; None where a draw's baseline is not a number above 0."""
    baselines = weights.means(clean)
    if not bool(((baselines > 0) & baselines.isfinite()).all()):
        return None
    drawn = weights.means(ablated)
    return percent_drops(baselines, drawn if errors is None else drawn - errors)


def _share_over(drops: Float[Tensor, "*draw component"], percent: int) -> Float[Tensor, "*draw"]:
    return (drops > percent).double().mean(-1)


def _interval(draws: Float[Tensor, " draw"]) -> Interval:
    low, high = percentile_interval(draws)
    return float(low), float(high)
