"""The steps from a student to its matches with a teacher, the same for the real student and for random ones."""

from dataclasses import dataclass
from pathlib import Path

from circuitkit.alignment.matching import Matching
from circuitkit.alignment.nulls import RandomStudentNull, random_student_null
from circuitkit.alignment.score import alignment_score
from circuitkit.alignment.scores import match_influences
from circuitkit.alignment.settings import AlignSettings, BatchSize
from circuitkit.alignment.similarity.measure import measure_similarity
from circuitkit.alignment.similarity.types import Similarity
from circuitkit.core.errors import ModelError
from circuitkit.core.progress import Progress
from circuitkit.discovery.influence import Influence, influence
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

RANDOM_STUDENTS = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """A teacher, the prompts and the options, against which students are measured.

    Attributes:
        settings: Every option.
        teacher: The teacher.
        batches: The same prompts for the teacher and for its students.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards are kept and looked for.
        progress: Called as the work advances.
    """

    settings: AlignSettings
    teacher: HookedModel
    batches: tuple[PromptBatch, PromptBatch]
    batch_size: BatchSize
    resume: Path | None
    progress: Progress

    def influence(self, model: HookedModel, role: str) -> Influence:
        """Sweep one model; `role` is `teacher` or names a student in progress reports."""
        s = self.settings
        return influence(
            model,
            self.batches[0 if role == "teacher" else 1],
            n_prompts=s.n_prompts,
            ablation=s.ablation,
            method=s.method,
            normalize=s.normalize,
            sign=s.influence_sign,
            bootstrap=s.bootstrap,
            seed=s.seed,
            batch_size=self.batch_size,
            resume=self.resume,
            stage=f"{role} sweep",
            progress=self.progress,
        )

    def match(self, teacher: Influence, student_model: HookedModel, student: Influence) -> tuple[Similarity, Matching]:
        """Compare a student's activations with the teacher's and match their components."""
        similarity = measure_similarity(
            (self.teacher, student_model),
            self.batches,
            option=self.settings.similarity,
            batch_size=self.batch_size,
            progress=self.progress,
        )
        return similarity, match_influences(similarity, teacher, student, self.settings)

    def random_students(
        self, teacher: Influence, student: HookedModel, observed: float
    ) -> tuple[RandomStudentNull | None, tuple[str, ...]]:
        """Students of the same configuration with fresh weights, if the options ask for them.

        Each has its own sweep, its own similarities and its own matches. One with nothing to match (under
        `top_k`) scores 0. One whose activations are not finite is left out: the sweeps of the two models, which
        are done by then, are worth keeping.

        Returns:
            The null, None where no random student could be measured, and a warning if some could not.
        """
        if self.settings.null not in ("random-student", "both"):
            return None, ()
        scores: dict[int, float] = {}
        failures: list[str] = []
        for i, seed in enumerate(range(self.settings.seed, self.settings.seed + RANDOM_STUDENTS), start=1):
            try:
                scores[seed] = self._score_random(teacher, student.with_random_weights(seed), i)
            except ModelError as error:
                failures.append(str(error))
        warnings = (
            (
                f"{len(failures)} of {RANDOM_STUDENTS} random students could not be measured and are left out of "
                f"their null: {failures[0]}",
            )
            if failures
            else ()
        )
        return (random_student_null(observed, tuple(scores.values()), tuple(scores)) if scores else None), warnings

    def _score_random(self, teacher: Influence, fresh: HookedModel, number: int) -> float:
        measured = self.influence(fresh, f"random student {number}/{RANDOM_STUDENTS}")
        _, matching = self.match(teacher, fresh, measured)
        return float(alignment_score(matching, teacher.values, measured.values)) if len(matching) else 0.0
