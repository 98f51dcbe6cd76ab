"""Claims about what the student relies on."""

from collections.abc import Callable
from typing import Any

from circuitkit.experiments.reproduce.claim import ALPHA, Claim, between
from circuitkit.experiments.reproduce.measured_figure import rows_of
from circuitkit.experiments.study import Study


def _reliance_claim(
    study: Study | None,
    *,
    claim: str,
    rule: str,
    figure: str,
    good: Callable[[float, float], bool],
    null: Callable[[dict[str, Any]], tuple[bool, str] | None],
    better_than_before: Callable[[float, float], bool],
) -> Claim:
    """A claim about a difference between the models that must hold on every task that both do."""
    source = "sections 3.2.3 and 5, Table 2"
    rows = [] if study is None else [r for r in rows_of(study, "differences") if r[figure] is not None]
    if study is None or not rows:
        why = "was not measured" if study is None else "is not told: there is no task that both models clearly do"
        return Claim(claim=claim, source=source, rule=rule, verdict="not comparable", evidence=f"This {why}.")
    models = {(r["task"], r["model"]): r[figure] for r in rows_of(study, "models")}
    held = {r["task"]: r[f"{figure}_ci95"] is not None and good(*r[f"{figure}_ci95"]) for r in rows}
    evidence = "; ".join(
        f"{r['task']}: teacher {models[r['task'], 'teacher']:.2f}, student {models[r['task'], 'student']:.2f}, "
        f"difference {r[figure]:.2f}{between(r[f'{figure}_ci95'])}"
        for r in rows
    )
    nulls = [(r["task"], n) for r in rows if (n := null(r)) is not None]
    before = [
        (r["task"], models[r["task"], "student"], b)
        for r in rows
        if (b := models.get((r["task"], "before"))) is not None
    ]
    beside = [f"{task}: {words}" for task, (_, words) in nulls]
    beside += [f"{task}: before distillation {b:.2f} against {s:.2f}" for task, s, b in before]
    return Claim(
        claim=claim,
        source=source,
        rule=rule,
        verdict="holds" if all(held.values()) else "does not hold",
        evidence=evidence,
        null=all(ok for _, (ok, _) in nulls) if nulls else None,
        control=all(better_than_before(s, b) for _, s, b in before) if before else None,
        beside="; ".join(beside),
    )


def fewer_components(study: Study | None) -> Claim:
    """Whether the student relies on fewer components."""
    return _reliance_claim(
        study,
        claim="Students rely on fewer components.",
        rule="The effective number of components, (sum of drops)² / sum of squared drops, is lower in the student on "
        "every task that both models do, its 95% interval below 0. Null: lower than the teacher's own components "
        "thinned at random to the student's number (p ≤ .05). Control: lower than before distillation.",
        figure="effective",
        good=lambda low, high: high < 0,
        null=lambda r: (r["thinned_p"] <= ALPHA, f"teacher thinned {r['thinned']:.2f}, p = {r['thinned_p']:.3f}"),
        better_than_before=lambda student, before: student < before,
    )


def higher_drops(study: Study | None) -> Claim:
    """Whether losing one component costs the student more."""
    return _reliance_claim(
        study,
        claim="Losing one component costs the student more: the mean drop is higher.",
        rule="The student's mean drop is higher on every task that both models do, the 95% interval of the difference "
        "above 0. Null: also above the teacher's total drop spread over as many components as the student has. "
        "Control: higher than before distillation.",
        figure="mean_drop",
        good=lambda low, high: low > 0,
        null=lambda r: (
            r["beyond_count_ci95"] is not None and r["beyond_count_ci95"][0] > 0,
            f"beyond the number of components {r['beyond_count']:.2f}{between(r['beyond_count_ci95'])}",
        ),
        better_than_before=lambda student, before: student > before,
    )
