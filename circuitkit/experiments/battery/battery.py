"""The battery: students whose relation to their teacher is known by construction, and what scores make of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.core.seeds import check_seed
from circuitkit.experiments.battery.battery_tables import (
    findings,
    laws_table,
    score_figures,
    students_table,
    verdicts_table,
)
from circuitkit.experiments.battery.build import Student, Workshop
from circuitkit.experiments.battery.cues import CUED, cued_task
from circuitkit.experiments.battery.laws import Outcome, Verdict, judge_laws
from circuitkit.experiments.battery.scores import SCORES, Judge, Measured, beyond_control
from circuitkit.experiments.battery.student import FAMILY_NAMES, STUDENTS, StudentSpec, student_spec, students_of
from circuitkit.experiments.study import Study
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import load_model
from circuitkit.tasks.describe import describe_task

NAME = "battery"
TITLE = "Students of known relation to their teacher: which score keeps which law?"
SOURCE = "circuitkit's own: laws that any score of inherited mechanisms must keep"
SLOW = ("distilled-random", "other-seed", "shortcut-numerals")
"""Students that are trained longest and are left out unless they are asked for."""

Setting = tuple[str, str]
"""A family and a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryOptions:
    """What a battery is made of.

    Attributes:
        families: Families of teachers: `gpt2`, `bert`, `llama`; each teacher is the embedded model of this name.
        tasks: `ioi`, `numerals`.
        seeds: Seeds of the students, 0 and up, so many.
        students: Students by name; None leaves out those that take longest to train, but for a shortcut on a task
            that is asked for.
        n_prompts: Prompts a task.
        bootstrap: Draws for the intervals.
        seed: Seed of prompts, halves, draws and shuffles.
    """

    families: tuple[str, ...] = ("gpt2",)
    tasks: tuple[str, ...] = ("ioi",)
    seeds: int = 1
    students: tuple[str, ...] | None = None
    n_prompts: int = 96
    bootstrap: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            OptionError: One is unknown, empty, given twice or out of range.
        """
        _among("Family", self.families, FAMILY_NAMES)
        _among("Task", self.tasks, CUED)
        if self.students is not None:
            _among("Student", self.students, tuple(spec.key for spec in STUDENTS))
        for what, given, least in (
            ("Number of seeds", self.seeds, 1),
            ("Number of prompts", self.n_prompts, 4),
            ("Number of bootstrap draws", self.bootstrap, 0),
        ):
            if given < least:
                raise OptionError(f"{what} {given} is too small; give {least} or more.")
        check_seed(self.seed)

    def chosen(self, family: str) -> tuple[StudentSpec, ...]:
        """The students that are made of a family's teacher."""
        if self.students is not None:
            return tuple(spec for spec in students_of(family) if spec.key in self.students)
        return tuple(spec for spec in students_of(family) if spec.key not in SLOW or spec.cue in self.tasks)


def battery(
    options: BatteryOptions | None = None,
    *,
    resume: Path | None = None,
    command: str | None = None,
    progress: Progress = silent,
) -> Study:
    """Make the students, score each against its teacher, and try every law on every score.

    Prompts are those whose cue agrees with the answer, so that shortcuts are right on them.

    Args:
        options: What the battery is made of.
        resume: Folder in which trained students and finished scores are kept and looked for.
        command: The command line that asked for this, kept with the result.
        progress: Called as the work advances.

    Raises:
        OptionError: A student can be made in none of the families.
        ModelError: A model gives numbers that are not finite.
        ResultError: What was kept is broken, or nothing can be written.
    """
    options = options or BatteryOptions()
    for key in options.students or ():
        if not set(student_spec(key).families) & set(options.families):
            raise OptionError(
                f"Student {key!r} can be made of a {' or '.join(student_spec(key).families)} only; "
                f"{', '.join(options.families)} was asked for. Leave it out, or name another family."
            )
    outcomes: dict[Setting, list[Outcome]] = {}
    models: dict[str, Any] = {}
    tasks: list[Mapping[str, Any]] = []
    for family in options.families:
        teacher = load_model(f"toy-{family}", device="cpu", dtype="float32")
        models[family] = asdict(teacher.info)
        one = _Family(teacher=teacher, family=family, options=options, resume=resume, progress=progress)
        outcomes |= one.run()
        tasks += [describe_task(judge.batch) for judge in one.judges().values()]
    return _study(options, outcomes, models, tasks, command)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Family:
    """The battery of one teacher."""

    teacher: HookedModel
    family: str
    options: BatteryOptions
    resume: Path | None
    progress: Progress

    def judges(self) -> dict[str, Judge]:
        o = self.options
        return {
            task: Judge(
                teacher=self.teacher,
                task=cued_task(task, "agrees"),
                n_prompts=o.n_prompts,
                bootstrap=o.bootstrap,
                seed=o.seed,
                folder=self.resume,
            )
            for task in o.tasks
        }

    def run(self) -> dict[Setting, list[Outcome]]:
        shop = Workshop(self.teacher, folder=self.resume)
        judges, broken = self.judges(), self._broken()
        control = shop.student("initialised", seed=0).model
        before = {task: judge.scores(control)["A"] for task, judge in judges.items()}
        found: dict[Setting, list[Outcome]] = {(self.family, task): [] for task in judges}
        wanted = [(spec, seed) for seed in range(self.options.seeds) for spec in self.options.chosen(self.family)]
        for done, (spec, seed) in enumerate(wanted):
            self.progress(f"{self.family} students", done, len(wanted))
            student = shop.student(spec.key, seed=seed)
            for task, judge in judges.items():
                found[self.family, task].append(_outcome(student, judge, broken[task], before[task]))
        self.progress(f"{self.family} students", len(wanted), len(wanted))
        return found

    def _broken(self) -> dict[str, Judge]:
        """Prompts whose cue points elsewhere; only accuracy is measured on them."""
        o = self.options
        return {
            task: Judge(
                teacher=self.teacher, task=cued_task(task, "broken"), n_prompts=o.n_prompts, bootstrap=0, seed=o.seed
            )
            for task in o.tasks
        }


def _outcome(student: Student, judge: Judge, broken: Judge, before: Measured) -> Outcome:
    scores = judge.scores(student.model)
    if (over := beyond_control(scores, before)) is not None:
        scores["A control"] = over
    agrees = judge.logit_diffs(student.model)
    return Outcome(
        key=student.spec.key,
        seed=student.seed,
        agrees=float((agrees > 0).double().mean()),
        broken=float((broken.logit_diffs(student.model) > 0).double().mean()),
        logit_diff=float(agrees.mean()),
        scores=scores,
    )


def _study(
    options: BatteryOptions,
    outcomes: Mapping[Setting, Sequence[Outcome]],
    models: Mapping[str, Any],
    tasks: Sequence[Mapping[str, Any]],
    command: str | None,
) -> Study:
    verdicts: dict[tuple[str, Setting], dict[str, Verdict]] = {
        (score.key, setting): judge_laws(score, setting[1], some)
        for score in SCORES
        for setting, some in outcomes.items()
    }
    made = provenance(device="cpu", dtype="float32", command=command)
    left = [] if options.students is not None else [key for key in SLOW if student_spec(key).cue not in options.tasks]
    return Study(
        name=NAME,
        title=TITLE,
        source=SOURCE,
        models=models,
        tasks=tuple(tasks),
        findings=findings(verdicts),
        caution=(
            "The teachers are small models of two tasks, and laws are kept or broken on these students: a score that "
            "keeps all of them here may still fail elsewhere. Intervals are over prompts, not over students."
        ),
        tables={
            "laws": laws_table(verdicts),
            "students": students_table(outcomes),
            "verdicts": verdicts_table(verdicts),
        },
        figures=score_figures(outcomes),
        settings=asdict(options),
        notices=(
            *(
                [f"Left out, since they take longest to train: {', '.join(left)}; name them to have them."]
                if left
                else []
            ),
            *(["One seed: no test over seeds."] if options.seeds == 1 else []),
        ),
        made_with=made,
    )


def _among(what: str, given: tuple[str, ...], choices: Sequence[str]) -> None:
    if not given:
        raise OptionError(f"{what}: none is named; choose among {', '.join(choices)}.")
    if unknown := [one for one in given if one not in choices]:
        raise OptionError(f"{what} {unknown[0]!r} unknown in the battery; choose among {', '.join(choices)}.")
    if len(set(given)) < len(given):
        raise OptionError(f"{what} given twice among {', '.join(given)}; give each once.")
