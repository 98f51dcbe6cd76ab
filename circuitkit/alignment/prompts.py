"""The same prompts for two models."""

from dataclasses import replace

from circuitkit.core.errors import TaskError
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch, assemble
from circuitkit.tasks.task import Task
from circuitkit.tasks.usable import Dropped, usable_prompts


def shared_batches(
    teacher: HookedModel, student: HookedModel, task: Task, *, n_prompts: int, seed: int, need_corrupted: bool
) -> tuple[PromptBatch, PromptBatch]:
    """Batches of the prompts that both models can read, in the same order; what is left out is listed in both.

    Clean prompts are the same text for both. A corrupted partner may differ where the models tokenise
    differently, since it is drawn to be as long as its clean prompt.

    Raises:
        TaskError: Fewer than half of the prompts can be used with both models.
    """
    t, s = (
        usable_prompts(task, model, n_prompts=n_prompts, seed=seed, need_corrupted=need_corrupted)
        for model in (teacher, student)
    )
    common = {row.index for row in t.kept} & {row.index for row in s.kept}
    total = len(t.kept) + len(t.dropped)
    if 2 * len(common) < total:
        reasons = " ".join(f"{side.dropped[0].reason}." for side in (t, s) if side.dropped)
        raise TaskError(
            f"Only {len(common)} of {total} prompts of task {task.name!r} can be used with both models; wanted at "
            f"least half. {reasons} Use another task or change its prompts."
        )
    dropped = _dropped_by_either(t.dropped, s.dropped)
    teachers, students = (assemble(side.only(common, dropped=dropped)) for side in (t, s))
    assert [pair.clean for pair in teachers.pairs] == [pair.clean for pair in students.pairs]
    return teachers, students


def _dropped_by_either(teacher: tuple[Dropped, ...], student: tuple[Dropped, ...]) -> tuple[Dropped, ...]:
    """One entry a prompt; where only one model cannot read it, the reason says which."""
    sides = {"teacher": {d.index: d for d in teacher}, "student": {d.index: d for d in student}}
    out: list[Dropped] = []
    for index in sorted(sides["teacher"].keys() | sides["student"].keys()):
        found = {side: drops[index] for side, drops in sides.items() if index in drops}
        reason = "; ".join(f"{side}: {drop.reason}" for side, drop in found.items())
        out.append(replace(next(iter(found.values())), reason=reason))
    return tuple(out)
