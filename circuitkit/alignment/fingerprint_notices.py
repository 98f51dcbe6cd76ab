"""What a reader must see beside fingerprint scores."""

from collections.abc import Mapping

from circuitkit.alignment.fingerprint_result import FingerprintNull
from circuitkit.alignment.fingerprint_screen import FingerprintScreen, score_range
from circuitkit.alignment.fingerprint_sweep import Fingerprints
from circuitkit.discovery.baseline import measure_baseline
from circuitkit.models.info import ModelInfo
from circuitkit.tasks.batch import PromptBatch

CHANCE = 0.05
UNSTEADY = 0.8


def fingerprint_notices(
    models: tuple[ModelInfo, ModelInfo],
    sides: tuple[Fingerprints, Fingerprints],
    batches: tuple[PromptBatch, PromptBatch],
    *,
    F: float,
    ceiling: float,
    nulls: Mapping[str, FingerprintNull],
    screens: tuple[FingerprintScreen | None, FingerprintScreen | None],
) -> tuple[str, ...]:
    """Plain sentences, the gravest first.

    Args:
        models: Teacher and student.
        sides: Their fingerprints.
        batches: Their prompts.
        F: The score.
        ceiling: The teacher against itself on disjoint halves.
        nulls: The nulls, by kind.
        screens: What was left out of each model.
    """
    roles = ("Teacher", "Student")
    found = [
        warning
        for role, info, side in zip(roles, models, sides, strict=True)
        if (warning := measure_baseline(side.clean, None).warning(f"{role} {info.name}"))
    ]
    if models[0].weights_sha256 == models[1].weights_sha256:
        found.append("Teacher and student have the same weights: an F of 1 is what this must give.")
    found += [
        f"No component of the {role.lower()} does anything to the answer; F says nothing."
        for role, side in zip(roles, sides, strict=True)
        if not bool(side.effects.any())
    ]
    if (null := nulls.get("shuffled")) is not None and null.p > CHANCE:
        found.append(
            f"F, {F:.3f}, is not clearly above {null.mean:.3f}, what it is where the student's components react to "
            f"other things than they do (p = {null.p:.2g})."
        )
    if ceiling < UNSTEADY:
        found.append(
            f"On two halves of the prompts the teacher's own fingerprints agree to {ceiling:.2f} only: chance takes "
            "something off F; use more prompts."
        )
    kinds = sides[0].kinds
    if len(kinds) == 1:
        found.append(
            f"F is of one counterfactual kind only, {kinds[0]!r}: components that react to different changes look "
            "alike under it; give more kinds."
        )
    return (*found, *_about_screens(F, screens), *_about_prompts(batches))


def _about_screens(F: float, screens: tuple[FingerprintScreen | None, FingerprintScreen | None]) -> list[str]:
    teacher, student = screens
    reach = score_range(F, teacher, student)
    if teacher is None or student is None or reach is None or not teacher.discarded_bound + student.discarded_bound:
        return []
    parts = " and ".join(
        f"{screen.n_kept} of {screen.n_components} components of the {role} (at most "
        f"{100 * screen.share_left_out:.1f}% of its mass left out)"
        for role, screen in (("teacher", teacher), ("student", student))
    )
    return [f"F is of {parts}; of all components it would lie between {reach[0]:.3f} and {reach[1]:.3f}."]


def _about_prompts(batches: tuple[PromptBatch, PromptBatch]) -> list[str]:
    """What must be said of the prompts; no means are taken over them."""
    found = [notice for batch in batches for notice in batch.notices if notice not in batch.about_means]
    return list(dict.fromkeys(found))
