"""The first prompts of a pair, for studies that run a model many times on each."""

from circuitkit.alignment.prompts import shared_batches
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.tasks.batch import PromptBatch


def first_prompts(pair: PairMeasurements, n: int, *, least_even: int) -> tuple[PromptBatch, PromptBatch]:
    """The same first prompts for the teacher and the student, at most `n` drawn.

    Where corrupted prompts differ in length from their clean ones, those pairs are left out, if `least_even` remain.

    Raises:
        TaskError: Too few of them can be used with both models.
    """
    drawn = pair.batches[0]
    if pair.settings.n_prompts <= n and (drawn.positional or drawn.corrupted is None):
        return pair.batches
    return shared_batches(
        pair.teacher_model,
        pair.student_model,
        pair.task,
        n_prompts=min(n, pair.settings.n_prompts),
        seed=pair.settings.seed,
        need_corrupted=pair.settings.ablation.needs_corrupted,
        least_even=least_even,
    )
