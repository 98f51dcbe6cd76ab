"""Find the roles of two models on the same prompts, and measure how far each relies on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from circuitkit.alignment.prompts import shared_batches
from circuitkit.alignment.result import AlignmentResult
from circuitkit.core.progress import Progress
from circuitkit.discovery.circuit import Circuit
from circuitkit.discovery.influence import influence
from circuitkit.discovery.influence_result import Influence
from circuitkit.experiments.component_drops import component_drops
from circuitkit.experiments.drops import Drop, drops_together
from circuitkit.experiments.role_comparison import (
    RoleComparison,
    Side,
    SideOfRoles,
    compare_sides,
    component_groups,
    tested_roles,
)
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles.assign import find_roles
from circuitkit.roles.result import RoleResult
from circuitkit.roles.significance import LEAST_PROMPTS
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.task import Task

Batches = tuple[PromptBatch, PromptBatch]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoleStudy:
    """Two models, their prompts and the options of a comparison.

    Attributes:
        models: Teacher and student.
        batches: The same prompts for both, with corrupted partners where the task has them.
        ablation: What ablated activations are replaced by.
        n_draws: Bootstrap draws for the intervals; 0 for none.
        seed: Seed of bootstrap and nulls.
        batch_size: Rows run at a time.
        as_loaded: Whether circuits of 16-bit models run in their own arithmetic.
        resume: Folder in which finished pieces are kept and looked for.
        command: The command line that asked for this, kept with the results.
        progress: Called as the work advances.
    """

    models: tuple[HookedModel, HookedModel]
    batches: Batches
    ablation: Ablation
    n_draws: int
    seed: int
    batch_size: BatchSize
    as_loaded: bool
    resume: Path | None
    command: str | None
    progress: Progress

    def run(self, circuits: tuple[Circuit, Circuit], aligned: AlignmentResult, shown: Sequence[str]) -> RoleComparison:
        """Find both models' roles, and ablate the components that have any.

        What the alignment has measured on the same prompts is not measured again.

        Args:
            circuits: The teacher's and the student's circuit.
            aligned: Their alignment.
            shown: The clean prompts of the alignment.

        Raises:
            OptionError: The ablation cannot be done on these prompts, or memory is short.
            ModelError: Numbers are not finite.
        """
        same = [pair.clean for pair in self.batches[0].pairs] == list(shown)
        teacher = self._side("teacher", circuits[0], aligned.teacher if same else None)
        student = self._side("student", circuits[1], aligned.student if same else None)
        return compare_sides(teacher, student, aligned, ablation=self.ablation.value)

    def _side(self, side: Side, circuit: Circuit, measured: Influence | None) -> SideOfRoles:
        number = 0 if side == "teacher" else 1
        model, batch = self.models[number], self.batches[number]

        def progress(stage: str, done: int, total: int) -> None:
            self.progress(f"{side} roles: {stage}", done, total)

        measured = measured or influence(
            model,
            batch,
            n_prompts=len(batch.pairs),
            ablation=self.ablation,
            bootstrap=self.n_draws,
            seed=self.seed,
            batch_size=self.batch_size,
            resume=self.resume,
            command=self.command,
            progress=progress,
        )
        found = find_roles(
            model,
            batch,
            n_prompts=len(batch.pairs),
            measured=measured,
            bootstrap=self.n_draws,
            seed=self.seed,
            batch_size=self.batch_size,
            resume=self.resume,
            command=self.command,
            progress=progress,
        )
        return SideOfRoles(
            result=found,
            tested=tested_roles(found, batch),
            **self._drops(model, batch, circuit, found, progress),
        )

    def _drops(
        self, model: HookedModel, batch: PromptBatch, circuit: Circuit, found: RoleResult, progress: Progress
    ) -> dict[str, dict[str, Drop]]:
        """Drops of the components that have a role: alone, in the circuit, and by role."""
        measured, weights = found.influence, found.influence.weights()
        components = [c for c in measured.components if found.roles[str(c)]]
        single = component_drops(
            model,
            batch,
            measured,
            circuit,
            components,
            ablation=self.ablation,
            batch_size=self.batch_size,
            as_loaded=self.as_loaded,
            progress=progress,
        )
        groups = component_groups(found)
        several = {role: group for role, group in groups.items() if len(group) > 1}
        together = drops_together(
            model,
            batch,
            list(several.values()),
            ablation=self.ablation,
            batch_size=self.batch_size,
            weights=weights,
            progress=progress,
        )
        by_role = {role: single.alone[group[0]] for role, group in groups.items()}
        return {
            "alone": {str(c): drop for c, drop in single.alone.items()},
            "in_circuit": {str(c): drop for c, drop in single.in_circuit.items()},
            "together": by_role | dict(zip(several, together, strict=True)),
        }


def role_batches(
    models: tuple[HookedModel, HookedModel],
    task: Task,
    batches: Batches,
    *,
    n_prompts: int,
    seed: int,
    progress: Progress,
) -> Batches:
    """The prompts of a comparison, with corrupted partners of equal length: circuits may need none, but roles do.

    Args:
        models: Teacher and student.
        task: The task.
        batches: The prompts of the circuits.
        n_prompts: Prompts to draw.
        seed: Seed of the prompts.
        progress: Called as prompts are read.

    Raises:
        TaskError: Too few prompts can be used with both models.
    """
    has = batches[0].corrupted is not None
    fits = all(batch.positional for batch in batches) or not task.positional
    if (has and fits) or all(pair.corrupted is None for pair in task.draw(n_prompts, seed=seed)):
        return batches
    return shared_batches(
        *models,
        task,
        n_prompts=n_prompts,
        seed=seed,
        need_corrupted=True,
        least_even=LEAST_PROMPTS,
        progress=progress,
    )
