"""One of our numbers, as it stands beside a published one."""

from dataclasses import dataclass
from typing import Any

from circuitkit.experiments.study import Study
from circuitkit.experiments.study_table import Cell

SIDES = ("teacher", "student")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One of our numbers.

    Attributes:
        quantity: As in the published figures.
        task: The task.
        value: The number; None where it was measured and there is none, such as a layer that is nowhere reached.
        definition: How it was computed.
        study: The study that holds it.
        side: `teacher` or `student`; None for the pair.
        ci95: Its 95% interval.
        n: Prompts.
        component: The component that it is of.
        role: The role that the component has.
        variant: A definition of the score or of a drop, or a layer.
    """

    quantity: str
    task: str
    value: float | None
    definition: str
    study: str
    side: str | None = None
    ci95: tuple[float, float] | None = None
    n: int | None = None
    component: str | None = None
    role: str | None = None
    variant: str | None = None


def one(quantity: str, task: str, value: Cell, definition: str, **more: Any) -> list[Measured]:  # noqa: ANN401 - fields of Measured
    """A figure, if there is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return []
    return [Measured(quantity=quantity, task=task, value=float(value), definition=definition, study="", **more)]


def rows_of(study: Study, table: str) -> list[dict[str, Any]]:
    """The rows of one of its tables; none where it has no such table."""
    return [dict(row) for row in study.tables[table].rows] if table in study.tables else []


def prompts_of(study: Study) -> dict[str, int]:
    """Prompts by task."""
    return {str(task["name"]): int(task["n_prompts"]) for task in study.tasks}


def only_task(study: Study) -> tuple[str, int]:
    """The task of a study that has one, and its prompts."""
    return next(iter(prompts_of(study).items()))
