"""Run a study by name."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from circuitkit.alignment.matching import MatchingMethod
from circuitkit.alignment.settings import BatchSize
from circuitkit.alignment.similarity.types import SimilarityOption
from circuitkit.alignment.table import check_task_names
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.discovery.normalize import Normalize
from circuitkit.experiments.catalogue import STUDIES, StudyKind
from circuitkit.experiments.pair import PairMeasurements, measure_pair
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_options import StudyOptions, option_names
from circuitkit.interventions.ablation import Ablation
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.task import Task


def check_study(name: str, options: StudyOptions, *, n_tasks: int = 1) -> StudyKind:
    """The study of a name, with options and a number of tasks that it takes.

    Raises:
        OptionError: There is no such study, or it does not take an option or several tasks.
    """
    if name not in STUDIES:
        raise OptionError(f"Experiment {name!r} unknown; choose one of {', '.join(STUDIES)}.")
    kind = STUDIES[name]
    if foreign := [option for option in options.given if option not in kind.takes]:
        takes = ", ".join(f"--{option}" for option in option_names() if option in kind.takes) or "no option of its own"
        raise OptionError(f"Experiment {name!r} does not take --{foreign[0]}; it takes {takes}. Leave it out.")
    if n_tasks > 1 and not kind.several_tasks:
        several = ", ".join(other for other, k in STUDIES.items() if k.several_tasks)
        raise OptionError(f"Experiment {name!r} takes one task; {n_tasks} were given. Several go with {several}.")
    return kind


def run_study(
    name: str, pairs: Sequence[PairMeasurements], options: StudyOptions | None = None, *, progress: Progress = silent
) -> Study:
    """Run a study on measurements that others may share.

    Args:
        name: Which study.
        pairs: The same two models on each task.
        options: Options of this study.
        progress: Called as the work advances.

    Raises:
        OptionError: There is no such study, or it does not take an option or several tasks.
        TaskError: Several tasks share a name.
        ModelError: A model gives numbers that are not finite.
    """
    options = options or StudyOptions()
    kind = check_study(name, options, n_tasks=len(pairs))
    if len(pairs) > 1:
        check_task_names([pair.task.name for pair in pairs])
    return kind.run(pairs, options, progress=progress)


def experiment(
    name: str,
    teacher: HookedModel,
    student: HookedModel,
    task: Task | Sequence[Task],
    *,
    options: StudyOptions | None = None,
    n_prompts: int = 384,
    ablation: Ablation | str = Ablation.CORRUPTED_MEAN,
    method: str = "exact",
    similarity: SimilarityOption | str = "auto",
    matching: MatchingMethod | str = "greedy",
    normalize: Normalize | str = "max",
    bootstrap: int = 1000,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    resume: Path | None = None,
    command: str | None = None,
    as_loaded: bool = False,
    progress: Progress = silent,
    **given: Any,  # noqa: ANN401 - fields of StudyOptions
) -> Study:
    """Run one of the experiments of Distilled Circuits on any two models and task.

    Args:
        name: any of `STUDIES`, such as `noise` or `cross-task`.
        teacher: The teacher.
        student: The student.
        task: The task; several for `cross-task`, `sensitivity`, `reliance` and `definitions`.
        options: Options of this experiment.
        n_prompts: Prompts to draw; those that either model cannot read are left out and listed.
        ablation: What replaces an ablated activation.
        method: How influence is measured: `exact` or `screen`.
        similarity: How activations are compared; see `align`.
        matching: How components are matched.
        normalize: How drops become influences.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of everything random.
        batch_size: Rows run at a time.
        resume: Folder in which finished pieces are kept and looked for.
        command: The command line that asked for this, kept with the result.
        as_loaded: Threshold: find circuits of 16-bit models in their own arithmetic; see `discover`. Everything else
            always is computed so.
        progress: Called as the work advances.
        **given: Options of this experiment by name: `levels`, `repeats`, `where`, `unit`, `search`, `top`.

    Raises:
        OptionError: There is no such experiment, or an option is unknown, out of range or does not go with it.
        TaskError: Too few prompts can be used with both models.
        ModelError: A model gives numbers that are not finite.
    """
    if unknown := [option for option in given if option not in option_names()]:
        raise OptionError(f"Option {unknown[0]!r} of experiment unknown; experiments take {', '.join(option_names())}.")
    chosen = replace(options or StudyOptions(), **given)
    tasks = [task] if isinstance(task, Task) else list(task)
    if not tasks:
        raise OptionError("No task was given; give at least one.")
    check_study(name, chosen, n_tasks=len(tasks))
    pairs = [
        measure_pair(
            teacher,
            student,
            one,
            n_prompts=n_prompts,
            ablation=ablation,
            method=method,
            similarity=similarity,
            matching=matching,
            normalize=normalize,
            bootstrap=bootstrap,
            seed=seed,
            batch_size=batch_size,
            resume=resume,
            command=command,
            as_loaded=as_loaded,
            progress=progress,
        )
        for one in tasks
    ]
    return run_study(name, pairs, chosen, progress=progress)
