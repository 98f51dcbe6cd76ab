"""Fingerprints measured beside an alignment: on the same models and the first of its prompts."""

from circuitkit.alignment.comparison import Comparison
from circuitkit.alignment.fingerprint import SHUFFLES, fingerprint
from circuitkit.alignment.fingerprint_result import FingerprintResult
from circuitkit.alignment.fingerprint_score import FEWEST_PROMPTS
from circuitkit.alignment.settings import AUTO
from circuitkit.core.errors import ModelError, OptionError, TaskError
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.task import Task

MOST_WHOLE = 64
"""Models of up to so many components are measured unless told otherwise; larger ones only when asked."""


def fingerprint_beside(
    job: Comparison, student: HookedModel, task: Task, *, command: str | None
) -> tuple[FingerprintResult | None, tuple[str, ...]]:
    """Compare fingerprints if the options ask for it; what cannot be done is said, for the alignment is worth keeping.

    Args:
        job: The alignment's teacher and options.
        student: The student.
        task: The task; its counterfactuals are drawn for the alignment's first prompts.
        command: The command line that asked for this.

    Returns:
        The comparison, and a sentence on why there is none where it was asked for.
    """
    s = job.settings
    if not s.fingerprint:
        return None, ()
    largest = max(len(job.teacher.components), len(student.components))
    if s.fingerprint_components == AUTO and largest > MOST_WHOLE:
        return None, (
            f"F, the fingerprint score, was not computed: with {largest} heads and MLPs it may take longer than "
            f"everything else together. --fingerprint-components top:{MOST_WHOLE} or all computes it.",
        )
    if s.n_prompts < FEWEST_PROMPTS:
        return None, (f"F, the fingerprint score, was not computed: it needs {FEWEST_PROMPTS} prompts or more.",)
    try:
        found = fingerprint(
            job.teacher,
            student,
            task,
            n_prompts=min(s.n_prompts, s.fingerprint_prompts),
            components="all" if s.fingerprint_components == AUTO else s.fingerprint_components,
            bootstrap=s.bootstrap,
            shuffles=0 if s.null == "none" else SHUFFLES,
            seed=s.seed,
            batch_size=job.batch_size,
            resume=job.resume,
            command=command,
            progress=job.progress,
        )
    except (TaskError, OptionError, ModelError) as error:
        return None, (f"F, the fingerprint score, was not computed: {error}",)
    return found, ()


def patched_runs(found: FingerprintResult) -> dict[str, int]:
    """How many runs the fingerprints of each model took at most: one component patched at one place of one prompt.

    What cannot change the answer was not run.
    """
    sides = {"teacher": found.teacher, "student": found.student}
    counts: dict[str, int] = {}
    for (name, side), screen in zip(sides.items(), found.screens, strict=True):
        kept, n = len(side.components), len(side.prompt_index)
        rows = kept * n if screen is None else screen.n_components * screen.n_audited + kept * (n - screen.n_audited)
        counts[name] = rows * len(side.kinds) * len(side.groups)
    return counts
