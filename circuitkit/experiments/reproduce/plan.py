"""Which studies are run on which tasks of a pair."""

from collections.abc import Sequence
from dataclasses import dataclass

from circuitkit.core.errors import OptionError
from circuitkit.experiments.catalogue import STUDIES
from circuitkit.experiments.published.figures import PublishedPair

TASKS = ("numerals", "numwords", "ioi")
FACTS = "simpleqa"
N_PROMPTS, FEW_PROMPTS = 384, 32
MANY_COMPONENTS = 200
"""Pairs whose teacher has more are run on few prompts unless told otherwise: 384 would take hours on 2 cores."""
EACH_TASK = ("robustness",)
"""Studies of one task that cost nothing beside the sweeps, and so are made for every task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStudy:
    """One study of one pair.

    Attributes:
        name: The study.
        tasks: The tasks that it takes.
    """

    name: str
    tasks: tuple[str, ...]

    @property
    def run(self) -> str:
        """Name of its run within the pair."""
        return f"{self.name}-{self.tasks[0]}" if self.name in EACH_TASK else self.name


def prompts_for(n_components: int) -> int:
    """Prompts of each task where none are asked for, by the number of the teacher's heads and MLPs."""
    return N_PROMPTS if n_components <= MANY_COMPONENTS else FEW_PROMPTS


def few_prompts(n_components: int) -> str:
    """What is said where they are fewer for the teacher's size."""
    return (
        f"{prompts_for(n_components)} prompts of each task instead of {N_PROMPTS}, as the teacher has {n_components} "
        "heads and MLPs; --n-prompts takes more."
    )


def tasks_of(pair: PublishedPair | None) -> tuple[str, ...]:
    """The tasks of the paper for the families of a pair.

    Args:
        pair: The paper's pair that is like it; None for no like.
    """
    return (*TASKS, FACTS) if pair is not None and pair.name == "llama/minitron" else TASKS


def plan_studies(names: Sequence[str] | None, tasks: Sequence[str]) -> tuple[PlannedStudy, ...]:
    """Every study, in the order in which they are run.

    Studies of one task are made on numerals, as most of the paper's are, or on the first task where that is not among
    them; robustness on every task.

    Args:
        names: Studies asked for; None for all.
        tasks: Names of the tasks.

    Raises:
        OptionError: There is no such study.
    """
    wanted = tuple(STUDIES) if names is None else tuple(names)
    if unknown := [name for name in wanted if name not in STUDIES]:
        raise OptionError(f"Experiment {unknown[0]!r} unknown; choose one of {', '.join(STUDIES)}.")
    main = TASKS[0] if TASKS[0] in tasks else tasks[0]
    planned: list[PlannedStudy] = []
    for name in STUDIES:
        if name not in wanted:
            continue
        if STUDIES[name].several_tasks:
            planned.append(PlannedStudy(name=name, tasks=tuple(tasks)))
        else:
            on = tasks if name in EACH_TASK else (main,)
            planned += [PlannedStudy(name=name, tasks=(task,)) for task in on]
    return tuple(planned)
