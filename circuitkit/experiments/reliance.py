"""Does the student rely on fewer components than its teacher, and on each of them more?"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.alignment.robustness import percent_drops
from circuitkit.core.bootstrap import percentile_interval, prompt_means
from circuitkit.core.progress import Progress, silent
from circuitkit.discovery.influence import Influence
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.reliance_parts import Figure, Reliance, RelianceDifference
from circuitkit.experiments.reliance_tables import (
    differences_table,
    models_table,
    reliance_figure,
    reliance_findings,
)
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.models.inherit import initialised_only

SOURCE = "Distilled Circuits (Haskins & Adams 2026), sections 3.2.3 and 5; effective numbers: ours"
THINNINGS = 1000
Drops = Float[Tensor, " component"]


def reliance_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """Mean drops and effective numbers of components, of teacher, student and the student before distillation.

    Args:
        pairs: The same two models on each task.
        options: Nothing is taken from it.
        progress: Called as tasks are done.
    """
    found: dict[str, list[Reliance]] = {}
    differences: dict[str, RelianceDifference] = {}
    for done, pair in enumerate(pairs, start=1):
        sides = {"teacher": pair.teacher, "student": pair.student}
        if pair.before is not None:
            fresh = initialised_only(pair.teacher_model, pair.student_model)
            sides["before"] = pair.job.influence(fresh, "student before distillation")
        found[pair.task.name] = [reliance(who, side) for who, side in sides.items()]
        differences[pair.task.name] = compare_reliance(pair.teacher, pair.student, seed=pair.settings.seed)
        progress("tasks", done, len(pairs))
    return make_study(
        pairs,
        name="reliance",
        title="Does the student rely on fewer components, and on each of them more?",
        source=SOURCE,
        findings=reliance_findings(found, differences),
        caution=(
            "A smaller model has fewer components to rely on: read both differences beside what fewer components alone "
            "would give, and beside the student before distillation. Components are ablated one at a time, so that "
            "two that stand in for each other both count as not needed."
        ),
        tables={"models": models_table(found), "differences": differences_table(differences)},
        figures={"effective": reliance_figure(found)},
        settings=pairs[0].settings.to_dict(),
        notices=[f"{pair.task.name}: {w}" if len(pairs) > 1 else w for pair in pairs for w in pair.plain_warnings],
    )


def effective_number(drops: Float[Tensor, "*draw component"]) -> Float[Tensor, "*draw"]:
    """(sum d)^2 / sum d^2: how many equal components would carry as much; 0 where nothing drops (participation ratio).

    Args:
        drops: Drops of components, not negative.
    """
    squares = drops.square().sum(-1)
    return torch.where(squares > 0, drops.sum(-1).square() / squares, 0.0)


def reliance(who: str, side: Influence) -> Reliance:
    """What one model relies on."""
    drops = _percent(side)
    drawn = _drawn(side)
    return Reliance(
        model=who,
        n_components=len(side.components),
        logit_diff=side.baseline.mean,
        clear=side.baseline.clear,
        mean_drop=_figure(drops, drawn, lambda d: d.mean(-1)),
        effective=_figure(drops, drawn, effective_number),
        over_10=None if drops is None else float((drops > 10).double().mean()),  # noqa: PLR2004 - the paper's 10%
    )


def compare_reliance(teacher: Influence, student: Influence, *, seed: int) -> RelianceDifference:
    """Student minus teacher, prompts drawn for both at once.

    Args:
        teacher: The teacher's sweep.
        student: The student's, on the same prompts.
        seed: Seed of the thinnings.
    """
    teachers, students = _percent(teacher), _percent(student)
    if teachers is None or students is None:
        none = Figure(value=None)
        return RelianceDifference(mean_drop=none, beyond_count=none, effective=none, thinned=None, thinned_p=None)
    drops, drawn = (teachers, students), (_drawn(teacher), _drawn(student))
    more = len(teacher.components) / len(student.components)
    thinned = _thinned(teachers, teacher, student, seed=seed)
    own = float(effective_number(students))
    return RelianceDifference(
        mean_drop=_gap(drops, drawn, lambda t, s: s.mean(-1) - t.mean(-1)),
        beyond_count=_gap(drops, drawn, lambda t, s: s.mean(-1) - more * t.mean(-1)),
        effective=_gap(drops, drawn, lambda t, s: effective_number(s) - effective_number(t)),
        thinned=float(thinned.mean()),
        thinned_p=(1 + int((thinned <= own).sum())) / (1 + THINNINGS),
    )


def _percent(side: Influence) -> Drops | None:
    if not side.baseline.clear:
        return None
    return percent_drops(side.clean.double().mean(), prompt_means(side.ablated))


def _drawn(side: Influence) -> Float[Tensor, "draw component"] | None:
    weights = side.weights()
    if weights is None or not side.baseline.clear:
        return None
    baselines = weights.means(side.clean)
    if not bool((baselines > 0).all()):
        return None
    errors, ablated = side.drawn_errors(weights.n_draws), weights.means(side.ablated)
    return percent_drops(baselines, ablated if errors is None else ablated - errors)


def _figure(
    drops: Drops | None, drawn: Float[Tensor, "draw component"] | None, of: Callable[[Tensor], Tensor]
) -> Figure:
    if drops is None:
        return Figure(value=None)
    return Figure(value=float(of(drops)), ci95=None if drawn is None else _interval(of(drawn)))


def _gap(
    drops: tuple[Tensor, Tensor], drawn: tuple[Tensor | None, Tensor | None], of: Callable[[Tensor, Tensor], Tensor]
) -> Figure:
    t, s = drawn
    return Figure(value=float(of(*drops)), ci95=None if t is None or s is None else _interval(of(t, s)))


def _interval(draws: Float[Tensor, " draw"]) -> tuple[float, float]:
    low, high = percentile_interval(draws)
    return float(low), float(high)


def _thinned(drops: Drops, teacher: Influence, student: Influence, *, seed: int) -> Float[Tensor, " thinning"]:
    """Effective numbers of random parts of the teacher with as many heads and MLPs as the student has."""
    generator = torch.Generator().manual_seed(seed)
    parts: list[Float[Tensor, "thinning component"]] = []
    for kind in ("head", "mlp"):
        own = drops[_of_kind(teacher, kind)]
        n = min(int(_of_kind(student, kind).sum()), len(own))
        order = torch.rand(THINNINGS, len(own), generator=generator).argsort(1)
        parts.append(own[order[:, :n]])
    return effective_number(torch.cat(parts, dim=1))


def _of_kind(side: Influence, kind: str) -> Bool[Tensor, " component"]:
    return torch.tensor([c.kind == kind for c in side.components])
