"""Fingerprint alignment: do a student's components do to the answer what its teacher's do?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from circuitkit.alignment.fingerprint_notices import fingerprint_notices
from circuitkit.alignment.fingerprint_result import FORMS, FingerprintNull, FingerprintResult, FingerprintScore
from circuitkit.alignment.fingerprint_score import (
    Effects,
    centred_interval,
    limit_interval,
    score,
    score_draws,
    shuffled_scores,
)
from circuitkit.alignment.fingerprint_screen import FingerprintScreen, parse_choice, screened_fingerprints
from circuitkit.alignment.fingerprint_sweep import Fingerprints
from circuitkit.alignment.prompts import shared_batches
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.core.seeds import check_seed
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.describe import describe_task
from circuitkit.tasks.task import Task

SHUFFLES = 200


def fingerprint(
    teacher: HookedModel,
    student: HookedModel,
    task: Task | tuple[PromptBatch, PromptBatch],
    *,
    n_prompts: int = 96,
    kinds: Sequence[str] | None = None,
    components: str = "all",
    bootstrap: int = 1000,
    shuffles: int = SHUFFLES,
    random_students: int = 0,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    resume: Path | None = None,
    command: str | None = None,
    progress: Progress = silent,
) -> FingerprintResult:
    """Compare what the components of two models do to the answer (ALIGNMENT, "Fingerprint alignment").

    Nothing is compared across the models but effects on the logit difference, so widths, bases, depths, families and
    tokenizers do not matter; and a copied component whose effect is gone shares nothing with what it was copied from.

    Args:
        teacher: The teacher.
        student: The student.
        task: The task; or batches of the same prompts for both models, with their counterfactuals.
        n_prompts: Prompts to draw; those that either model cannot read are left out and listed.
        kinds: Which of the task's counterfactual kinds to use; None is all.
        components: `all`, or `top:K`: the K components of each model with the heaviest fingerprints.
        bootstrap: Draws for the intervals; 0 for none.
        shuffles: Draws of the null in which the student's fingerprints are shuffled; 0 for none.
        random_students: Students with fresh weights to measure as a further null, each with a sweep of its own.
        seed: Seed of prompts, halves, draws, shuffles, audited prompts and random students.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards of the sweeps are kept and looked for.
        command: The command line that asked for this, kept with the result.
        progress: Called as the work advances.

    Raises:
        OptionError: An option is unknown or out of range, there are no counterfactuals, or fewer than 4 prompts.
        TaskError: Too few prompts can be used with both models.
        ModelError: Logits or gradients are not finite.
    """
    top = parse_choice(components)
    for what, number in (("bootstrap draws", bootstrap), ("shuffles", shuffles), ("random students", random_students)):
        if number < 0:
            raise OptionError(f"Number of {what} {number} is too small; give 0 or more.")
    check_seed(seed)
    if isinstance(task, Task):
        batches = shared_batches(
            teacher,
            student,
            task,
            n_prompts=n_prompts,
            seed=seed,
            need_corrupted=False,
            counterfactuals=True if kinds is None else kinds,
            progress=progress,
        )
    else:
        batches = _of_kinds(task, kinds)
    job = _Job(top=top, seed=seed, batch_size=batch_size, resume=resume, progress=progress)
    ours, screen = job.measure(teacher, batches[0], "teacher fingerprints")
    theirs, other_screen = job.measure(student, batches[1], "student fingerprints")
    effects = compared(ours, theirs)
    found, noise = score_with_intervals(effects, bootstrap=bootstrap, seed=seed)
    nulls: dict[str, FingerprintNull] = {}
    if shuffles:
        nulls["shuffled"] = FingerprintNull.of(found["F"].score, shuffled_scores(effects, n=shuffles, seed=seed))
    if random_students:
        scores = [
            job.score_random(ours, student, batches[1], f"random student {i + 1}/{random_students}", seed=seed + i)
            for i in range(random_students)
        ]
        nulls["random_student"] = FingerprintNull.of(found["F"].score, torch.tensor(scores, dtype=torch.float64))
    return FingerprintResult(
        models=(teacher.info, student.info),
        teacher=ours,
        student=_in_order(theirs, ours),
        scores=found,
        noise=noise,
        nulls=nulls,
        screens=(screen, other_screen),
        task=describe_task(batches[0]),
        settings={
            "n_prompts": n_prompts if isinstance(task, Task) else len(batches[0].pairs),
            "kinds": None if kinds is None else list(kinds),
            "components": components,
            "bootstrap": bootstrap,
            "random_students": random_students,
            "seed": seed,
            "batch_size": batch_size,
        },
        made_with=_made_with(teacher, student, command),
        notices=fingerprint_notices(
            (teacher.info, student.info),
            (ours, theirs),
            batches,
            F=found["F"].score,
            ceiling=found["ceiling"].score,
            nulls=nulls,
            screens=(screen, other_screen),
        ),
    )


def compared(teacher: Fingerprints, student: Fingerprints) -> Effects:
    """Bring the effects of two models into the same cells.

    Raises:
        OptionError: They are of different prompts, kinds or groups of positions.
    """
    student = _in_order(student, teacher)
    return Effects(teacher=teacher.cells, student=student.cells, may=teacher.is_head[:, None] == student.is_head[None])


def score_with_intervals(
    effects: Effects, *, bootstrap: int, seed: int
) -> tuple[dict[str, FingerprintScore], float | None]:
    """Every form of the score with its interval, and the mean of the draws of F minus F (None without draws)."""
    found = score(effects, seed=seed)
    draws = score_draws(effects, n_draws=bootstrap, seed=seed) if bootstrap else None
    scores: dict[str, FingerprintScore] = {}
    for form in FORMS:
        value = float(getattr(found, form))
        ci95 = None
        if draws is not None and form == "ceiling":
            ci95 = centred_interval(value, draws.ceiling)
        elif draws is not None:
            ci95 = limit_interval(value, getattr(draws, form), n_prompts=effects.n_prompts)
        scores[form] = FingerprintScore(score=value, ci95=ci95)
    return scores, None if draws is None else float(draws.F.mean()) - scores["F"].score


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """How models are measured."""

    top: int | None
    seed: int
    batch_size: BatchSize
    resume: Path | None
    progress: Progress

    def measure(
        self, model: HookedModel, batch: PromptBatch, stage: str
    ) -> tuple[Fingerprints, FingerprintScreen | None]:
        return screened_fingerprints(
            model,
            batch,
            top=self.top,
            seed=self.seed,
            batch_size=self.batch_size,
            resume=self.resume,
            stage=stage,
            progress=self.progress,
        )

    def score_random(
        self, teacher: Fingerprints, student: HookedModel, batch: PromptBatch, stage: str, *, seed: int
    ) -> float:
        fresh, _ = self.measure(student.with_random_weights(seed), batch, stage)
        return float(score(compared(teacher, fresh), seed=self.seed).F)


def _of_kinds(batches: tuple[PromptBatch, PromptBatch], kinds: Sequence[str] | None) -> tuple[PromptBatch, PromptBatch]:
    if kinds is None:
        return batches
    if unknown := [kind for kind in kinds if any(kind not in batch.counterfactuals for batch in batches)]:
        raise OptionError(
            f"The prompts have no counterfactuals of kind {unknown[0]!r}; choose among "
            f"{', '.join(batches[0].counterfactuals)}."
        )
    one, other = (
        replace(batch, counterfactuals={kind: batch.counterfactuals[kind] for kind in kinds}) for batch in batches
    )
    return one, other


def _in_order(side: Fingerprints, like: Fingerprints) -> Fingerprints:
    """The same with kinds and groups in another's order: tokenizers may differ in which label comes first."""
    if side.prompt_index != like.prompt_index:
        raise OptionError("The fingerprints of two models are of different prompts; measure both on the same ones.")
    for what, mine, others in (("kinds", side.kinds, like.kinds), ("groups", side.groups, like.groups)):
        if set(mine) != set(others):
            raise OptionError(
                f"The fingerprints of two models have different {what} ({', '.join(mine)}; {', '.join(others)}); "
                "measure both on the same prompts."
            )
    kinds, groups = [side.kinds.index(k) for k in like.kinds], [side.groups.index(g) for g in like.groups]
    effects = side.effects[:, kinds][:, :, groups]
    return replace(side, kinds=like.kinds, groups=like.groups, effects=effects)


def _made_with(teacher: HookedModel, student: HookedModel, command: str | None) -> dict[str, Any]:
    names = [str(model.dtype).removeprefix("torch.") for model in (teacher, student)]
    dtype = names[0] if names[0] == names[1] else f"{names[0]} (teacher), {names[1]} (student)"
    return provenance(device=str(teacher.device), dtype=dtype, command=command)
