"""Every score of a student against its teacher on one task, each with its interval over prompts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.fingerprint import compared, score_with_intervals
from circuitkit.alignment.fingerprint_sweep import Fingerprints, fingerprints
from circuitkit.alignment.scores import match_influences, score_matching
from circuitkit.alignment.settings import AlignSettings
from circuitkit.alignment.similarity.measure import measure_similarity
from circuitkit.alignment.similarity.types import Similarity, SimilarityOption
from circuitkit.core.bootstrap import BootstrapWeights, bootstrap_weights, percentile_interval
from circuitkit.core.digest import digest
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.influence import Influence, influence
from circuitkit.experiments.battery.stream_similarity import (
    Streams,
    linear_cka,
    mean_over_blocks,
    read_streams,
    rsa,
    svcca,
)
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch, build_batch
from circuitkit.tasks.task import Task

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreKind:
    """A score that the battery tries.

    Attributes:
        key: Its name.
        title: What it is, in a few words.
        best: What the teacher itself must get.
        null: What is got where there is nothing in common; None where that has no fixed value.
        lower_is_closer: Whether it measures a distance.
        unit: Its unit; None of a share.
    """

    key: str
    title: str
    best: float = 1.0
    null: float | None = 0.0
    lower_is_closer: bool = False
    unit: str | None = None


SCORES: tuple[ScoreKind, ...] = (
    ScoreKind(key="F", title="F"),
    ScoreKind(key="F one-to-one", title="F, one to one"),
    ScoreKind(key="F profile", title="F, profile"),
    ScoreKind(key="A", title="A"),
    ScoreKind(key="A hungarian", title="A, one to one"),
    ScoreKind(key="A l1", title="A, influences sum to 1"),
    ScoreKind(key="A pattern", title="A by attention patterns"),
    ScoreKind(key="A cka", title="A by CKA"),
    ScoreKind(key="A*", title="A over shuffled influences"),
    ScoreKind(key="A control", title="A over the student before distillation"),
    ScoreKind(key="A_w", title="A weighted by influence"),
    ScoreKind(key="CKA answer", title="linear CKA at the answer"),
    ScoreKind(key="CKA tokens", title="linear CKA of all tokens"),
    ScoreKind(key="SVCCA answer", title="SVCCA at the answer"),
    ScoreKind(key="SVCCA tokens", title="SVCCA of all tokens"),
    ScoreKind(key="RSA answer", title="RSA at the answer"),
    ScoreKind(key="RSA tokens", title="RSA of tokens"),
    ScoreKind(key="KL", title="KL of the answer", best=0.0, null=None, lower_is_closer=True, unit="nats"),
    ScoreKind(key="top-1", title="same first choice"),
)
_SIMILARITIES: tuple[SimilarityOption, ...] = ("auto", "pattern", "cka")
_FORMS = {"F": "F", "F one-to-one": "one_to_one", "F profile": "profile"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One score of one student.

    Attributes:
        score: It.
        ci95: Its interval over prompts; None where there is none.
    """

    score: float
    ci95: Interval | None = None


def beyond_control(found: Mapping[str, Measured], control: Measured) -> Measured | None:
    """(A - A_c) / (1 - A_c), A_c that of the student before distillation, held fixed; None where that is 1."""
    a = found["A"]
    if control.score >= 1:
        return None

    def over(value: float) -> float:
        return (value - control.score) / (1 - control.score)

    return Measured(score=over(a.score), ci95=None if a.ci95 is None else (over(a.ci95[0]), over(a.ci95[1])))


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """Scores students of one teacher on one task, all on the same prompts; what concerns the teacher is done once.

    Attributes:
        teacher: The teacher; students read text as it does.
        task: The task.
        n_prompts: Prompts to draw.
        bootstrap: Draws for the intervals.
        seed: Seed of prompts, halves, draws and shuffles.
        folder: Where scores are kept; None to keep nothing.
        progress: Called as the work advances.
    """

    teacher: HookedModel
    task: Task
    n_prompts: int
    bootstrap: int
    seed: int = 0
    folder: Path | None = None
    progress: Progress = silent

    @cached_property
    def batch(self) -> PromptBatch:
        """The prompts, each with its corrupted partner and its counterfactuals."""
        return build_batch(self.task, self.teacher, n_prompts=self.n_prompts, seed=self.seed, counterfactuals=True)

    @cached_property
    def settings(self) -> AlignSettings:
        """Options of A, those of `align`."""
        return AlignSettings.parse(
            n_prompts=self.n_prompts,
            ablation="corrupted-mean",
            method="exact",
            similarity="auto",
            matching="greedy",
            normalize="max",
            influence_sign="clamp",
            direction="teacher",
            top_k=None,
            bootstrap=self.bootstrap,
            null="shuffle",
            controls=False,
            seed=self.seed,
            batch_size="auto",
            data=None,
        )

    def scores(self, student: HookedModel) -> dict[str, Measured]:
        """Every score of a student, but that over its control, which needs another student.

        Raises:
            OptionError: There are fewer than four prompts, or no counterfactuals.
            ModelError: A model gives numbers that are not finite.
            ResultError: Scores that were kept cannot be read, or cannot be written.
        """
        names = [kind.key for kind in SCORES if kind.key != "A control"]
        store = self._store(student, names)
        if store is not None and (kept := store.load("scores")) is not None:
            return {name: _measured(row) for name, row in zip(names, kept["scores"], strict=True)}
        found = {**self._fingerprint(student), **self._alignment(student)}
        found |= {**self._streams(student), **self._outputs(student)}
        if store is not None:
            store.save("scores", {"scores": torch.stack([_row(found[name]) for name in names])})
        return {name: found[name] for name in names}

    def logit_diffs(self, student: HookedModel) -> Float[Tensor, " prompt"]:
        """Logit of the right answer minus that of the distractor, in logits."""
        logits, row = self._logits(student), torch.arange(len(self.batch.pairs))
        return logits[row, self.batch.correct_ids] - logits[row, self.batch.incorrect_ids]

    def _store(self, student: HookedModel, names: list[str]) -> ShardStore | None:
        if self.folder is None:
            return None
        about = {
            "models": [model.info.weights_sha256 for model in (self.teacher, student)],
            "task": self.task.sha256,
            "settings": [self.n_prompts, self.bootstrap, self.seed, names],
            "versions": provenance(device="cpu", dtype="float32")["versions"],
        }
        return ShardStore(self.folder, f"scores-{digest(about)}")

    @cached_property
    def _weights(self) -> BootstrapWeights | None:
        return bootstrap_weights(len(self.batch.pairs), n_draws=self.bootstrap, seed=self.seed)

    # ---- fingerprints
    @cached_property
    def _own_fingerprints(self) -> Fingerprints:
        return fingerprints(self.teacher, self.batch, stage="teacher fingerprints", progress=self.progress)

    def _fingerprint(self, student: HookedModel) -> dict[str, Measured]:
        theirs = fingerprints(student, self.batch, stage="student fingerprints", progress=self.progress)
        effects = compared(self._own_fingerprints, theirs)
        found, _ = score_with_intervals(effects, bootstrap=self.bootstrap, seed=self.seed)
        return {name: Measured(score=found[form].score, ci95=found[form].ci95) for name, form in _FORMS.items()}

    # ---- alignment
    def _influence(self, model: HookedModel, stage: str) -> Influence:
        return influence(
            model, self.batch, bootstrap=self.bootstrap, seed=self.seed, stage=stage, progress=self.progress
        )

    @cached_property
    def _own_influence(self) -> Influence:
        return self._influence(self.teacher, "teacher sweep")

    def _alignment(self, student: HookedModel) -> dict[str, Measured]:
        sides = self._own_influence, self._influence(student, "student sweep")
        options: dict[str, tuple[SimilarityOption, AlignSettings]] = {
            "A": ("auto", self.settings),
            "A hungarian": ("auto", replace(self.settings, matching="hungarian", null="none")),
            "A l1": ("auto", replace(self.settings, normalize="l1", null="none")),
            "A pattern": ("pattern", replace(self.settings, null="none")),
            "A cka": ("cka", replace(self.settings, null="none")),
        }
        similar: dict[SimilarityOption, Similarity] = {
            option: measure_similarity((self.teacher, student), (self.batch, self.batch), option=option)
            for option in _SIMILARITIES
        }
        found: dict[str, Measured] = {}
        for name, (option, settings) in options.items():
            ours, theirs = (replace(side, normalize=settings.normalize) for side in sides)
            matching = match_influences(similar[option], ours, theirs, settings)
            scored = score_matching(matching, similar[option], ours, theirs, settings=settings)
            found[name] = Measured(score=scored.score, ci95=scored.ci95)
            if name == "A":
                found["A_w"] = Measured(score=scored.circuit_alignment or 0.0, ci95=scored.circuit_ci95)
                null = scored.shuffle.mean if scored.shuffle is not None else 0.0
                star = beyond_control(found, Measured(score=null))
                found["A*"] = star if star is not None else Measured(score=0.0)
        return found

    # ---- residual streams
    @cached_property
    def _own_streams(self) -> Streams:
        return read_streams(self.teacher, self.batch, seed=self.seed)

    def _streams(self, student: HookedModel) -> dict[str, Measured]:
        ours, theirs = self._own_streams, read_streams(student, self.batch, seed=self.seed)
        found: dict[str, Measured] = {}
        for name, compare in (("CKA", linear_cka), ("SVCCA", svcca), ("RSA", rsa)):
            tokens = (ours.sample, theirs.sample) if name == "RSA" else (ours.tokens, theirs.tokens)
            found[f"{name} answer"] = _interval(mean_over_blocks(compare, ours.answer, theirs.answer, self._weights))
            found[f"{name} tokens"] = _interval(mean_over_blocks(compare, *tokens, self._weights))
        return found

    # ---- outputs
    def _logits(self, model: HookedModel) -> Float[Tensor, "prompt vocab"]:
        clean = self.batch.clean
        return model.answer_logits(clean.ids, clean.mask, clean.answer_pos).cpu().double()

    @cached_property
    def _own_logits(self) -> Float[Tensor, "prompt vocab"]:
        return self._logits(self.teacher)

    def _outputs(self, student: HookedModel) -> dict[str, Measured]:
        ours, theirs = self._own_logits, self._logits(student)
        apart = (ours.softmax(-1) * (ours.log_softmax(-1) - theirs.log_softmax(-1))).sum(-1)
        same = (ours.argmax(-1) == theirs.argmax(-1)).double()
        values = torch.stack([apart, same])
        drawn = values.mean(-1)[None]
        if self._weights is not None:
            drawn = torch.cat([drawn, self._weights.means(values)])
        return {"KL": _interval(drawn[:, 0]), "top-1": _interval(drawn[:, 1])}


def _interval(draws: Float[Tensor, " draw"]) -> Measured:
    """The first entry with the percentile interval of the others, which is made to hold it."""
    score = float(draws[0])
    if len(draws) == 1:
        return Measured(score=score)
    low, high = (float(end) for end in percentile_interval(draws[1:]))
    return Measured(score=score, ci95=(min(score, low), max(score, high)))


def _row(measured: Measured) -> Float[Tensor, " end"]:
    return torch.tensor([measured.score, *(measured.ci95 or (torch.nan, torch.nan))], dtype=torch.float64)


def _measured(row: Float[Tensor, " end"]) -> Measured:
    score, low, high = row.tolist()
    return Measured(score=score, ci95=None if math.isnan(low) else (low, high))
