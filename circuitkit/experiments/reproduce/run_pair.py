"""All studies of one pair, those that are finished left out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from circuitkit.alignment.settings import BatchSize
from circuitkit.core.digest import digest
from circuitkit.core.errors import ModelError, OptionError, TaskError
from circuitkit.core.progress import Progress
from circuitkit.core.version import __version__
from circuitkit.experiments.experiment import run_study
from circuitkit.experiments.pair import PairMeasurements, measure_pair
from circuitkit.experiments.reproduce.finished import FinishedStudies, model_stamp
from circuitkit.experiments.reproduce.pairs import PairNames, Skipped
from circuitkit.experiments.reproduce.plan import N_PROMPTS, PlannedStudy, few_prompts, prompts_for
from circuitkit.experiments.study import Study
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import load_model
from circuitkit.tasks.task import Task

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How every pair is run.

    Attributes:
        n_prompts: Prompts of each task; None for what the size of the teacher allows.
        bootstrap: Draws for the intervals.
        seed: Seed of everything random.
        device: Device of the models.
        dtype: Number format of the models.
        batch_size: Rows run at a time.
    """

    n_prompts: int | None
    bootstrap: int
    seed: int
    device: str
    dtype: str
    batch_size: BatchSize


@dataclass(frozen=True, kw_only=True, eq=False)
class PairRun:
    """One pair and its tasks; models are loaded when a study is not finished.

    Attributes:
        names: The pair.
        tasks: The tasks by name.
        options: How it is run.
        folder: Folder of what is finished; None keeps nothing.
        command: The command line that asked for this.
        progress: Called as the work advances.
        say: Told what was done and what it cost.
    """

    names: PairNames
    tasks: Mapping[str, Task]
    options: RunOptions
    folder: Path | None
    command: str | None
    progress: Progress
    say: Say

    @cached_property
    def models(self) -> tuple[HookedModel, HookedModel]:
        """Teacher and student, never downloaded."""
        device, dtype = self.options.device, self.options.dtype
        teacher, student = (
            load_model(name, device=device, dtype=dtype, offline=True)
            for name in (self.names.teacher, self.names.student)
        )
        return teacher, student

    @cached_property
    def n_prompts(self) -> int:
        """Prompts of each task."""
        if self.options.n_prompts is not None:
            return self.options.n_prompts
        n_components = len(self.models[0].components)
        if (few := prompts_for(n_components)) < N_PROMPTS:
            self.say(f"{self.names}: {few_prompts(n_components)}")
        return few

    @cached_property
    def _measured(self) -> dict[str, PairMeasurements]:
        return {}

    def measurements(self, task: str) -> PairMeasurements:
        """Measurements on a task, shared by all studies.

        Raises:
            TaskError: Too few prompts can be used with both models.
        """
        if task not in self._measured:
            o = self.options
            self._measured[task] = measure_pair(
                *self.models,
                self.tasks[task],
                n_prompts=self.n_prompts,
                bootstrap=o.bootstrap,
                seed=o.seed,
                batch_size=o.batch_size,
                resume=self.folder,
                command=self.command,
                progress=self.progress,
            )
        return self._measured[task]

    def run(self, planned: Sequence[PlannedStudy]) -> tuple[dict[str, Study], list[Skipped]]:
        """Every planned study by the name of its run, and those that these models or tasks do not allow.

        Raises:
            ModelError: A model cannot be loaded or gives numbers that are not finite.
            ResultError: A finished study cannot be kept.
        """
        stamps = [model_stamp(name) for name in (self.names.teacher, self.names.student)]
        kept, found, skipped = FinishedStudies(self.folder), dict[str, Study](), list[Skipped]()
        for done, plan in enumerate(planned, start=1):
            what = f"{self.names} {plan.run}"
            key = self._key(stamps, plan)
            study = kept.load(key)
            if study is not None:
                self.say(f"{what}: finished before")
            else:
                before = time.monotonic()
                try:
                    study = run_study(
                        plan.name, [self.measurements(task) for task in plan.tasks], progress=self.progress
                    )
                except (OptionError, TaskError) as error:
                    skipped.append(Skipped(what=what, why=str(error)))
                    self.say(f"{what}: not run: {error}")
                    continue
                kept.save(key, study)
                self.say(f"{what}: {time.monotonic() - before:.0f} s")
            found[plan.run] = study
            self.progress(f"{self.names}", done, len(planned))
        return found, skipped

    def _key(self, stamps: Sequence[str], plan: PlannedStudy) -> str:
        tasks = [self.tasks[task].sha256 for task in plan.tasks]
        return f"study-{digest([stamps, plan.name, plan.tasks, tasks, asdict(self.options), __version__])}"


def try_pair(run: PairRun, planned: Sequence[PlannedStudy]) -> tuple[dict[str, Study], list[Skipped]]:
    """Run a pair; one that cannot be loaded is skipped and named."""
    try:
        return run.run(planned)
    except ModelError as error:
        run.say(f"{run.names}: not run: {error}")
        return {}, [Skipped(what=str(run.names), why=str(error))]
