"""Align a student with its teacher: the main job."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from circuitkit.alignment.comparison import Comparison
from circuitkit.alignment.control import InitialisedControl, initialised_control
from circuitkit.alignment.examples import pick_examples
from circuitkit.alignment.fingerprint_beside import fingerprint_beside
from circuitkit.alignment.inheritance import Inheritance, can_come_from, origin_notice, trace_inheritance
from circuitkit.alignment.matching import Direction, Matching, MatchingMethod
from circuitkit.alignment.notices import collect_warnings
from circuitkit.alignment.prompts import shared_batches
from circuitkit.alignment.result import AlignmentResult
from circuitkit.alignment.robustness import measure_robustness
from circuitkit.alignment.score import alignment_score
from circuitkit.alignment.scores import score_matching
from circuitkit.alignment.screening import screened_score
from circuitkit.alignment.settings import AUTO, FINGERPRINT_PROMPTS, AlignSettings, BatchSize, NullOption
from circuitkit.alignment.similarity.measure import choose_methods
from circuitkit.alignment.similarity.types import SimilarityOption
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.discovery.influence import Influence
from circuitkit.discovery.measure import Method
from circuitkit.discovery.normalize import Normalize, Sign
from circuitkit.interventions.ablation import Ablation
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.describe import describe_task
from circuitkit.tasks.task import Task


def align(
    teacher: HookedModel,
    student: HookedModel,
    task: Task,
    *,
    n_prompts: int = 384,
    ablation: Ablation | str = Ablation.CORRUPTED_MEAN,
    method: Method | str = "exact",
    similarity: SimilarityOption | str = "auto",
    matching: MatchingMethod | str = "greedy",
    normalize: Normalize | str = "max",
    influence_sign: Sign | str = "clamp",
    direction: Direction | str = "teacher",
    top_k: int | None = None,
    bootstrap: int = 1000,
    null: NullOption | str = "shuffle",
    controls: bool = True,
    fingerprint: bool = True,
    fingerprint_components: str = AUTO,
    fingerprint_prompts: int = FINGERPRINT_PROMPTS,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    resume: Path | None = None,
    command: str | None = None,
    progress: Progress = silent,
) -> AlignmentResult:
    """Measure how far a student carries a teacher's mechanism on a task (Distilled Circuits, Eqs. 3-8).

    The score does not tell a student that can do the task from a broken copy of its teacher: read it beside
    its null, the circuit alignment, both logit differences, and controls such as an untrained student. On tasks with
    counterfactual prompts the fingerprint score F is measured too, which compares what components do to the answer.

    Args:
        teacher: The teacher.
        student: The student.
        task: The task; both models get the same clean prompts.
        n_prompts: Prompts to draw; those that either model cannot read are left out and listed.
        ablation: What replaces an ablated activation.
        method: `exact` ablates every component; `screen` estimates all by gradients and measures exactly those
            that can matter, and the result says what error this leaves in the score.
        similarity: How activations are compared: `output`, `z`, `pattern`, `cka`, or `auto` (`output`
            between models of one width, else `pattern` for heads and `cka` for MLPs).
        matching: `greedy` (many to one), `hungarian` (one to one) or `soft` (5 best, softmax).
        normalize: How drops become influences: `max`, `l1` or `l2`.
        influence_sign: `clamp` counts components whose ablation helps as 0, `abs` (the notebooks) by size.
        direction: The model whose components are the sources of matches.
        top_k: Restrict both models to so many of their most influential components; None means all.
        bootstrap: Draws for the intervals, over prompts, with similarities and matches held fixed; 0 for none.
        null: `shuffle`, `random-student` (five further sweeps), `both` or `none`.
        controls: Also measure the student before distillation, where it is known which of the teacher's layers
            it was initialised from (one further sweep of the student).
        fingerprint: Also compare fingerprints, where the task has counterfactual or corrupted prompts. Their sweep
            patches every component kept in every group of positions from every kind of counterfactual, which takes
            about as long as everything else together.
        fingerprint_components: `all`; `top:K`, the K components of each model with the heaviest fingerprints; or
            `auto`, all of models with up to 64 components and no fingerprints of larger ones.
        fingerprint_prompts: On how many of the prompts at most, 4 or more.
        seed: Seed of prompts, bootstrap, permutations and random students.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards of the sweeps are kept and looked for.
        command: The command line that asked for this, kept with the result.
        progress: Called as the work advances.

    Raises:
        OptionError: An option is unknown or does not go with the models or the task.
        TaskError: Too few prompts can be used with both models.
        ModelError: Activations are not finite.
    """
    settings = AlignSettings.parse(
        n_prompts=n_prompts,
        ablation=ablation,
        method=method,
        similarity=similarity,
        matching=matching,
        normalize=normalize,
        influence_sign=influence_sign,
        direction=direction,
        top_k=top_k,
        bootstrap=bootstrap,
        null=null,
        controls=controls,
        fingerprint=fingerprint,
        fingerprint_components=fingerprint_components,
        fingerprint_prompts=fingerprint_prompts,
        seed=seed,
        batch_size=batch_size,
        data=task.data,
    )
    choose_methods(settings.similarity, teacher.info, student.info)  # refuse what is undefined before the long sweeps
    batches = shared_batches(
        teacher,
        student,
        task,
        n_prompts=n_prompts,
        seed=seed,
        need_corrupted=settings.ablation.needs_corrupted,
        progress=progress,
    )
    job = Comparison(
        settings=settings,
        teacher=teacher,
        batches=batches,
        batch_size=batch_size,
        resume=resume,
        progress=progress,
    )
    made_with = provenance(device=str(teacher.device), dtype=_dtypes(teacher, student), command=command)
    result = _run(job, student, made_with)
    fingerprints, missing = fingerprint_beside(job, student, task, command=command)
    return replace(result, fingerprint=fingerprints, warnings=(*result.warnings, *missing))


def _run(job: Comparison, student_model: HookedModel, made_with: Mapping[str, Any]) -> AlignmentResult:
    """Sweep, compare, match, score."""
    settings, models = job.settings, (job.teacher, student_model)
    teacher, student = job.influence(models[0], "teacher"), job.influence(models[1], "student")
    similarity, matching = job.match(teacher, student_model, student)
    if not len(matching):
        raise OptionError(
            f"Top-k {settings.top_k} leaves nothing to match: the components selected in the two models are "
            "of different types (heads against MLPs). Raise --top-k."
        )
    observed = float(alignment_score(matching, teacher.values, student.values))
    random_student, failed = job.random_students(teacher, student_model, observed)
    scores = score_matching(matching, similarity, teacher, student, settings=settings, random_student=random_student)
    control, unknown = _control(job, teacher, student_model)
    screened = screened_score(matching, teacher, student, top_k=settings.top_k)
    return AlignmentResult(
        teacher=teacher,
        student=student,
        similarity=similarity,
        matching=matching,
        scores=scores,
        control=control,
        robustness=measure_robustness(teacher, student, weights=teacher.weights()),
        inheritance=_inheritance(models, matching),
        examples=pick_examples(models, job.batches, (teacher, student), matching),
        task=describe_task(job.batches[0]),
        settings=settings.to_dict(),
        made_with=made_with,
        warnings=(
            *(screened.notices if screened else ()),
            *collect_warnings(teacher, student, similarity, scores, control),
            *unknown,
            *failed,
        ),
    )


def _control(
    job: Comparison, teacher: Influence, student: HookedModel
) -> tuple[InitialisedControl | None, tuple[str, ...]]:
    """The student before distillation, and what must be said of its stated origin or of its absence here."""
    origin = student.inheritance
    if origin is None:
        return None, ()
    notice = origin_notice(origin, teacher.model)
    notices = (notice,) if notice else ()
    if not job.settings.controls or origin.excludes(teacher.model):
        return None, notices
    try:
        return initialised_control(job, teacher, student), notices
    except (ModelError, OptionError) as error:
        return None, (*notices, f"The student before distillation was not measured: {error}")


def _inheritance(models: tuple[HookedModel, HookedModel], matching: Matching) -> Inheritance | None:
    """None also where the student's origin cannot be this teacher."""
    teacher, student = models
    origin = student.inheritance
    if origin is None or not can_come_from(origin, teacher.info, student.info):
        return None
    return trace_inheritance(origin.layers, matching, teacher.components, student.components)


def _dtypes(teacher: HookedModel, student: HookedModel) -> str:
    names = [str(model.dtype).removeprefix("torch.") for model in (teacher, student)]
    return names[0] if names[0] == names[1] else f"{names[0]} (teacher), {names[1]} (student)"
