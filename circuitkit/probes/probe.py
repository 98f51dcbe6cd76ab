"""Probe one model, or a teacher and its student, for what their activations tell of a task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from circuitkit.core.progress import Progress, silent
from circuitkit.models.hooked_model import HookedModel
from circuitkit.probes.features import Stream
from circuitkit.probes.options import N_CONTROLS, N_FOLDS, N_PROMPTS, STRENGTH, ProbeOptions
from circuitkit.probes.plan import plan_probes
from circuitkit.probes.result import ProbeResult
from circuitkit.tasks.task import Task


def probe(
    model: HookedModel,
    task: Task,
    *,
    student: HookedModel | None = None,
    targets: Sequence[str] | None = None,
    of: Stream | str = "resid_post",
    at: str | None = None,
    side: str = "auto",
    split: str = "auto",
    n_prompts: int = N_PROMPTS,
    folds: int = N_FOLDS,
    controls: int = N_CONTROLS,
    random_model: bool = False,
    strength: float = STRENGTH,
    bootstrap: int = 1000,
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
    resume: Path | None = None,
    command: str | None = None,
    progress: Progress = silent,
) -> ProbeResult:
    """Ask, layer by layer or head by head, what a linear probe can tell (Distilled Circuits, Appendix J).

    Args:
        model: The model, or the teacher.
        task: The task.
        student: A second model, probed on the same prompts.
        targets: What is asked, as all others up to `batch_size`: see `ProbeOptions`.
        of: Which activations: `resid_pre`, `resid_post` or `z`.
        at: Label at which is read.
        side: Which prompts are read.
        split: What held-out prompts must not share with fitted ones.
        n_prompts: Prompts to draw from the task.
        folds: Parts of the prompts that are held out in turn.
        controls: How often the control shuffles the labels.
        random_model: Also probe the model's configuration with random weights.
        strength: Inverse strength C of the L2 penalty.
        bootstrap: Draws for intervals; 0 for none.
        seed: Seed of everything random.
        batch_size: Prompts run at a time.
        resume: Folder in which finished rows are kept and looked for.
        command: The command line that asked for this, kept with the result.
        progress: Called as the work advances.

    Raises:
        OptionError: An option is unknown or out of range, or a target cannot be asked of the task.
        TaskError: Too few prompts can be used.
    """
    options = ProbeOptions(
        targets=targets,
        of=of,
        at=at,
        side=side,
        split=split,
        n_prompts=n_prompts,
        folds=folds,
        controls=controls,
        random_model=random_model,
        strength=strength,
        bootstrap=bootstrap,
        seed=seed,
        batch_size=batch_size,
    )
    plan = plan_probes(model, task, student=student, options=options, progress=progress)
    return plan.run(resume=resume, command=command, progress=progress)
