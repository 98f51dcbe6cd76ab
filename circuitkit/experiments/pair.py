"""What studies of one teacher and student on one task share, measured once, when the first study asks for it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from circuitkit.alignment.comparison import Comparison
from circuitkit.alignment.control import InitialisedControl, initialised_control
from circuitkit.alignment.inheritance import origin_notice
from circuitkit.alignment.matching import Matching, MatchingMethod
from circuitkit.alignment.notices import collect_warnings
from circuitkit.alignment.positions import SharedPositions, share_positions
from circuitkit.alignment.prompts import shared_batches
from circuitkit.alignment.scores import AlignmentScores, match_influences, score_matching
from circuitkit.alignment.settings import AlignSettings, BatchSize
from circuitkit.alignment.similarity.measure import choose_methods, measure_similarity
from circuitkit.alignment.similarity.types import Similarity, SimilarityOption
from circuitkit.alignment.summary import ActivationSummary, Need, summarise
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.discovery.influence import Influence
from circuitkit.discovery.normalize import Normalize
from circuitkit.interventions.ablation import Ablation
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.task import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class PairMeasurements:
    """A teacher and a student on one task; sweeps and similarities are made on first use and kept.

    Everything is what `align` computes with the same settings: other normalisations and matchings are worked out
    from the same sweeps.

    Attributes:
        teacher_model: The teacher.
        student_model: The student.
        task: The task.
        settings: Every option, as of `align`.
        batches: The same prompts for the teacher and the student.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards are kept and looked for.
        command: The command line that asked for this.
        as_loaded: Whether circuits of 16-bit models are found in their own arithmetic; see `discover`.
        progress: Called as the work advances.
    """

    teacher_model: HookedModel
    student_model: HookedModel
    task: Task
    settings: AlignSettings
    batches: tuple[PromptBatch, PromptBatch]
    batch_size: BatchSize
    resume: Path | None
    command: str | None
    as_loaded: bool = False
    progress: Progress

    @cached_property
    def job(self) -> Comparison:
        """The steps of an alignment with these options."""
        return Comparison(
            settings=self.settings,
            teacher=self.teacher_model,
            batches=self.batches,
            batch_size=self.batch_size,
            resume=self.resume,
            progress=self.progress,
        )

    @cached_property
    def teacher(self) -> Influence:
        """The teacher's sweep."""
        return self.job.influence(self.teacher_model, "teacher")

    @cached_property
    def student(self) -> Influence:
        """The student's sweep."""
        return self.job.influence(self.student_model, "student")

    def influences(self, normalize: Normalize | None = None) -> tuple[Influence, Influence]:
        """Both sweeps under a normalisation; that of the settings if none is named."""
        chosen = normalize or self.settings.normalize
        return replace(self.teacher, normalize=chosen), replace(self.student, normalize=chosen)

    @cached_property
    def shared(self) -> SharedPositions:
        """Positions at which activations are compared."""
        return share_positions(*self.batches)

    @cached_property
    def _similarities(self) -> dict[SimilarityOption, Similarity]:
        return {}

    def similarity(self, option: SimilarityOption | None = None) -> Similarity:
        """Similarities of all components; as the settings ask for if no option is named.

        Raises:
            OptionError: The option is undefined between these models.
            ModelError: Activations are not finite.
        """
        option = option or self.settings.similarity
        if option not in self._similarities:
            self._similarities[option] = measure_similarity(
                (self.teacher_model, self.student_model),
                self.batches,
                option=option,
                batch_size=self.batch_size,
                progress=self.progress,
            )
        return self._similarities[option]

    def summary(self, side: str, *need: Need) -> ActivationSummary:
        """Means and leading directions of `teacher` or `student` at the shared positions."""
        first = side == "teacher"
        return summarise(
            self.teacher_model if first else self.student_model,
            self.batches[0 if first else 1],
            self.shared,
            need=need,
            batch_size=self.batch_size,
            stage=f"{side} activations",
            progress=self.progress,
        )

    def score(
        self, *, normalize: Normalize | None = None, matching: MatchingMethod | None = None
    ) -> tuple[Matching, AlignmentScores]:
        """Matches and scores under a normalisation and a matching; no model is run for it.

        Raises:
            OptionError: Under `top_k` there is nothing to match.
        """
        chosen = replace(
            self.settings,
            normalize=normalize or self.settings.normalize,
            matching=matching or self.settings.matching,
            null="none" if self.settings.null == "none" else "shuffle",
        )
        similarity, influences = self.similarity(), self.influences(chosen.normalize)
        matched = match_influences(similarity, *influences, chosen)
        if not len(matched):
            raise OptionError(f"Top-k {chosen.top_k} leaves nothing to match. Raise it.")
        return matched, score_matching(matched, similarity, *influences, settings=chosen)

    @cached_property
    def _before(self) -> tuple[InitialisedControl | None, tuple[str, ...]]:
        origin = self.student_model.inheritance
        if origin is None:
            return None, ()
        notice = origin_notice(origin, self.teacher_model.info)
        notices = (notice,) if notice else ()
        if not self.settings.controls or origin.excludes(self.teacher_model.info):
            return None, notices
        try:
            return initialised_control(self.job, self.teacher, self.student_model), notices
        except (ModelError, OptionError) as error:
            return None, (*notices, f"The student before distillation was not measured: {error}")

    @property
    def before(self) -> InitialisedControl | None:
        """The student before distillation; None if its origin is unknown, is another model, or controls are off."""
        return self._before[0]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must stand beside every score of this pair."""
        _, scores = self.score()
        return (
            *collect_warnings(self.teacher, self.student, self.similarity(), scores, self.before),
            *self._before[1],
        )

    @property
    def plain_warnings(self) -> tuple[str, ...]:
        """What must stand beside influences alone, without any score."""
        own = {"Teacher": self.teacher.warnings, "Student": self.student.warnings}
        shared = [w for w in own["Teacher"] if w in own["Student"]]
        return (*shared, *(f"{who}: {w}" for who, found in own.items() for w in found if w not in shared))

    @cached_property
    def made_with(self) -> Mapping[str, Any]:
        """Versions, device, dtype and command."""
        names = [str(m.dtype).removeprefix("torch.") for m in (self.teacher_model, self.student_model)]
        dtype = names[0] if names[0] == names[1] else f"{names[0]} (teacher), {names[1]} (student)"
        return provenance(device=str(self.teacher_model.device), dtype=dtype, command=self.command)


def measure_pair(
    teacher: HookedModel,
    student: HookedModel,
    task: Task,
    *,
    n_prompts: int = 384,
    ablation: Ablation | str = Ablation.CORRUPTED_MEAN,
    method: str = "exact",
    similarity: SimilarityOption | str = "auto",
    matching: MatchingMethod | str = "greedy",
    normalize: Normalize | str = "max",
    influence_sign: str = "clamp",
    direction: str = "teacher",
    bootstrap: int = 1000,
    null: str = "shuffle",
    controls: bool = True,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    resume: Path | None = None,
    command: str | None = None,
    as_loaded: bool = False,
    progress: Progress = silent,
) -> PairMeasurements:
    """Check the options and draw the prompts; everything else is measured when a study asks for it.

    Options are those of `align`, and `as_loaded` that of `discover`.

    Raises:
        OptionError: An option is unknown or does not go with the models or the task.
        TaskError: Too few prompts can be used with both models.
    """
    settings = AlignSettings.parse(
        n_prompts=n_prompts,
        ablation=ablation,
        method=method,
        similarity=similarity,
        matching=matching,
        normalize=normalize,
        influence_sign=influence_sign,
        direction=direction,
        top_k=None,
        bootstrap=bootstrap,
        null=null,
        controls=controls,
        seed=seed,
        batch_size=batch_size,
        data=task.data,
    )
    choose_methods(settings.similarity, teacher.info, student.info)
    batches = shared_batches(
        teacher,
        student,
        task,
        n_prompts=n_prompts,
        seed=seed,
        need_corrupted=settings.ablation.needs_corrupted,
        progress=progress,
    )
    return PairMeasurements(
        teacher_model=teacher,
        student_model=student,
        task=task,
        settings=settings,
        batches=batches,
        batch_size=batch_size,
        resume=resume,
        command=command,
        as_loaded=as_loaded,
        progress=progress,
    )
