"""Two models on one task: their circuits, what matches what, how robust each is, and what their heads do."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from circuitkit.alignment.align import align
from circuitkit.alignment.prompts import shared_batches
from circuitkit.alignment.result import AlignmentResult
from circuitkit.core.edge import EdgeSpace
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import save_run
from circuitkit.discovery.circuit import Circuit
from circuitkit.discovery.discover import N_PROMPTS, Judge, discover
from circuitkit.discovery.search import (
    DiscoveryMethod,
    SearchOptions,
    check_options,
    check_sizes,
    parse_discovery_method,
)
from circuitkit.experiments.measure_roles import RoleStudy, role_batches
from circuitkit.experiments.role_comparison import RoleComparison
from circuitkit.interventions.ablation import Ablation, parse_ablation
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.precision import check_copyable
from circuitkit.roles.result import RoleResult
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.task import Task

SCHEMA = "circuitkit.comparison/1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelComparison:
    """Teacher and student side by side.

    Attributes:
        teacher: The teacher's circuit.
        student: The student's circuit.
        alignment: Matches, scores and robustness.
        roles: What the components of both do; None where it was not asked for.
    """

    teacher: Circuit
    student: Circuit
    alignment: AlignmentResult
    roles: RoleComparison | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that a reader must see beside the numbers; what is true of one circuit only says of which."""
        sides = {"Teacher": self.teacher.notices, "Student": self.student.notices}
        shared = [w for w in self.teacher.notices if w in self.student.notices]
        own = [f"{side}: {w}" for side, notices in sides.items() for w in notices if w not in shared]
        about_roles = () if self.roles is None else self.roles.notices
        return tuple(dict.fromkeys([*shared, *own, *self.alignment.warnings, *about_roles]))

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract of `circuitkit.comparison/1`."""
        whole, circuits = self.alignment.to_dict(), (self.teacher.to_dict(), self.student.to_dict())
        return {
            "schema": SCHEMA,
            **{name: whole[name] for name in ("teacher", "student", "task", "command", "device", "dtype", "versions")},
            "settings": circuits[0]["settings"],
            "circuits": {"teacher": circuits[0], "student": circuits[1]},
            "alignment": whole["alignment"],
            "robustness": whole["robustness"],
            "pairs": whole["pairs"],
            "roles": None if self.roles is None else self.roles.to_dict(),
            "warnings": list(self.warnings),
        }

    def save(self, path: str | Path) -> Path:
        """Write a run directory that holds the circuits, the alignment and the roles in ones of their own.

        Raises:
            ResultError: It cannot be written.
        """
        parts: dict[str, Circuit | AlignmentResult | RoleResult] = {
            "teacher": self.teacher,
            "student": self.student,
            "alignment": self.alignment,
        }
        if self.roles is not None:
            parts |= {"teacher-roles": self.roles.teacher.result, "student-roles": self.roles.student.result}
        children = {name: (part.to_dict(), *part.tensors()) for name, part in parts.items()}
        return save_run(Path(path), self.to_dict(), {}, {}, children=children)


def compare(
    teacher: HookedModel,
    student: HookedModel,
    task: Task,
    *,
    method: DiscoveryMethod | str = "prune",
    options: SearchOptions | None = None,
    n_prompts: int = N_PROMPTS,
    ablation: Ablation | str = Ablation.CORRUPTED_MEAN,
    judged: Judge | str = "basic",
    roles: bool = True,
    bootstrap: int = 1000,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    as_loaded: bool = False,
    resume: Path | None = None,
    command: str | None = None,
    progress: Progress = silent,
) -> ModelComparison:
    """Find a circuit in each of two models with the same method and prompts, and match the models' components.

    Args:
        teacher: The teacher.
        student: The student.
        task: The task; both models get the same clean prompts.
        method: How circuits are found; see `discover`.
        options: Options of the method.
        n_prompts: Prompts to draw; those that either model cannot read are left out and listed.
        ablation: What ablated activations are replaced by.
        judged: How much is measured of each circuit; see `discover`.
        roles: Also find out what the heads of both do, and how far each model relies on them.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of everything random.
        batch_size: Rows run at a time.
        as_loaded: Find the circuits of 16-bit models in their own arithmetic; see `discover`. The alignment always
            runs in theirs.
        resume: Folder in which finished pieces are kept and looked for.
        command: The command line that asked for this, kept with the result.
        progress: Called as the work advances.

    Raises:
        TaskError: Too few prompts can be used with both models.
        OptionError: An option is unknown or does not go with the models or the task, or one of the models does not do
            the task and the method needs it to.
        ModelError: A model gives numbers that are not finite, or its float32 copy does not fit in memory.
    """
    ablation, method, options = parse_ablation(ablation), parse_discovery_method(method), options or SearchOptions()
    check_options(method, options)
    for model in (teacher, student):
        check_sizes(method, options, EdgeSpace(model.info.n_layers, model.info.n_heads))
        if not as_loaded:
            check_copyable(model)
    batches = shared_batches(
        teacher,
        student,
        task,
        n_prompts=n_prompts,
        seed=seed,
        need_corrupted=ablation.needs_corrupted,
        progress=progress,
    )
    search = partial(
        discover,
        method=method,
        options=options,
        n_prompts=n_prompts,
        ablation=ablation,
        judged=judged,
        bootstrap=bootstrap,
        seed=seed,
        batch_size=batch_size,
        as_loaded=as_loaded,
        resume=resume,
        command=command,
    )
    circuits = (
        _circuit("teacher", search, teacher, batches[0], progress),
        _circuit("student", search, student, batches[1], progress),
    )
    aligned = align(
        teacher,
        student,
        task,
        n_prompts=n_prompts,
        ablation=ablation,
        bootstrap=bootstrap,
        fingerprint=False,
        seed=seed,
        batch_size=batch_size,
        resume=resume,
        command=command,
        progress=progress,
    )
    found = ModelComparison(teacher=circuits[0], student=circuits[1], alignment=aligned)
    if not roles:
        return found
    study = RoleStudy(
        models=(teacher, student),
        batches=role_batches((teacher, student), task, batches, n_prompts=n_prompts, seed=seed, progress=progress),
        ablation=ablation,
        n_draws=bootstrap,
        seed=seed,
        batch_size=batch_size,
        as_loaded=as_loaded,
        resume=resume,
        command=command,
        progress=progress,
    )
    return replace(found, roles=study.run(circuits, aligned, [pair.clean for pair in batches[0].pairs]))


def _circuit(
    side: str, search: Callable[..., Circuit], model: HookedModel, batch: PromptBatch, progress: Progress
) -> Circuit:
    """One model's circuit; reports and errors say whose it is."""

    def named(stage: str, done: int, total: int) -> None:
        progress(f"{side} {stage}", done, total)

    try:
        return search(model, batch, progress=named)
    except OptionError as error:
        raise OptionError(f"In the {side}: {error}") from error
