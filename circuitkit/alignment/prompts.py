"""The same prompts for two models."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from circuitkit.core.errors import TaskError
from circuitkit.core.progress import Progress, silent
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch, assemble
from circuitkit.tasks.reader_model import read_alike
from circuitkit.tasks.stages import PROMPTS, STUDENT_PROMPTS, TEACHER_PROMPTS
from circuitkit.tasks.task import Task
from circuitkit.tasks.usable import Dropped, UsablePrompts, usable_prompts, without_uneven


def shared_batches(
    teacher: HookedModel,
    student: HookedModel,
    task: Task,
    *,
    n_prompts: int,
    seed: int,
    need_corrupted: bool,
    counterfactuals: bool | Sequence[str] = False,
    least_even: int | None = None,
    progress: Progress = silent,
) -> tuple[PromptBatch, PromptBatch]:
    """Batches of the prompts that both models can read, in the same order; what is left out is listed in both.

    Models that read all text alike share one batch: it is made once and kept once.

    Clean prompts are the same text for both. A corrupted partner may differ where the models tokenise
    differently, since it is drawn to be as long as its clean prompt.

    `counterfactuals` and `least_even` are those of `build_batch`; a kind is left out for both if one model lacks
    it, and a prompt must be as long as its partner to both.

    Raises:
        TaskError: Fewer than half of the prompts can be used with both models, or they share no counterfactual kind.
        OptionError: A counterfactual kind is unknown.
    """
    read = partial(
        usable_prompts,
        task,
        n_prompts=n_prompts,
        seed=seed,
        need_corrupted=need_corrupted,
        counterfactuals=counterfactuals,
        progress=progress,
    )
    alike = read_alike(teacher, student)
    t = read(teacher, stage=PROMPTS if alike else TEACHER_PROMPTS)
    s = t if alike else _with_texts_of(t, read(student, stage=STUDENT_PROMPTS))
    common = {row.index for row in t.kept} & {row.index for row in s.kept}
    total = len(t.kept) + len(t.dropped)
    if 2 * len(common) < total:
        reasons = " ".join(f"{side.dropped[0].reason}." for side in (t, s) if side.dropped)
        raise TaskError(
            f"Only {len(common)} of {total} prompts of task {task.name!r} can be used with both models; wanted at "
            f"least half. {reasons} Use another task or change its prompts."
        )
    t, s = _with_kinds_of_both(t, s)
    dropped = _dropped_by_either(t.dropped, s.dropped)
    sides = t.only(common, dropped=dropped), s.only(common, dropped=dropped)
    if least_even is not None:
        sides = without_uneven(*sides, least=least_even)
    teachers = assemble(sides[0])
    students = teachers if alike else assemble(sides[1])
    assert [pair.clean for pair in teachers.pairs] == [pair.clean for pair in students.pairs]
    return teachers, students


def _with_kinds_of_both(teacher: UsablePrompts, student: UsablePrompts) -> tuple[UsablePrompts, UsablePrompts]:
    """Only the counterfactual kinds that both models read; what is said of either's kinds is said of both."""
    kinds = tuple(kind for kind in teacher.kinds if kind in student.kinds)
    if teacher.kinds and not kinds:
        raise TaskError(
            f"Of the counterfactual kinds of task {teacher.task.name!r} the teacher reads {', '.join(teacher.kinds)} "
            f"and the student {', '.join(student.kinds)}; wanted one that both read. Add kinds to the task."
        )
    about = tuple(dict.fromkeys((*teacher.about_kinds, *student.about_kinds)))
    return replace(teacher, kinds=kinds, about_kinds=about), replace(student, kinds=kinds, about_kinds=about)


def _with_texts_of(teacher: UsablePrompts, student: UsablePrompts) -> UsablePrompts:
    """The student's prompts; texts that the teacher has too are kept once."""
    known = {row.index: row.pair for row in teacher.kept}
    rows = (replace(row, pair=known[row.index]) if known.get(row.index) == row.pair else row for row in student.kept)
    return replace(student, kept=tuple(rows))


def _dropped_by_either(teacher: tuple[Dropped, ...], student: tuple[Dropped, ...]) -> tuple[Dropped, ...]:
    """One entry a prompt; where only one model cannot read it, the reason says which."""
    sides = {"teacher": {d.index: d for d in teacher}, "student": {d.index: d for d in student}}
    out: list[Dropped] = []
    for index in sorted(sides["teacher"].keys() | sides["student"].keys()):
        found = {side: drops[index] for side, drops in sides.items() if index in drops}
        reason = "; ".join(f"{side}: {drop.reason}" for side, drop in found.items())
        out.append(replace(next(iter(found.values())), reason=reason))
    return tuple(out)
