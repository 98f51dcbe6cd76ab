"""What is to be probed, counted before it is paid for; and the measuring itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from circuitkit.alignment.prompts import shared_batches
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.core.run_directory import ShardStore
from circuitkit.models.hooked_model import HookedModel
from circuitkit.probes.features import read_features, rows_of
from circuitkit.probes.judge import judge_curve
from circuitkit.probes.linear_probe import Outcome, fits_per_row, probe_row
from circuitkit.probes.options import ProbeOptions
from circuitkit.probes.probe_key import probe_key
from circuitkit.probes.question import Question
from circuitkit.probes.result import Curve, ProbeResult, Who
from circuitkit.probes.targets import ask, default_targets
from circuitkit.tasks.batch import PromptBatch, build_batch
from circuitkit.tasks.describe import describe_task
from circuitkit.tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probing:
    """One target in one model, not yet measured."""

    who: Who
    model: HookedModel
    question: Question


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProbePlan:
    """Everything that is to be fitted, so that its cost can be seen before it is paid.

    Attributes:
        batch: The model's prompts.
        probings: One a target and model.
        options: Every option.
        settings: The same as it is kept with the result.
        notices: Plain facts about the prompts.
    """

    batch: PromptBatch
    probings: tuple[Probing, ...]
    options: ProbeOptions
    settings: dict[str, Any]
    notices: tuple[str, ...]

    def fits(self, probing: Probing) -> int:
        """Logistic regressions of one target in one model."""
        q, n_rows = probing.question, len(rows_of(probing.model.info, self.options.stream))
        each = fits_per_row(n_parts=q.classes.shape[0], n_folds=q.folds.n_folds, n_controls=self.options.controls)
        return n_rows * each

    @property
    def n_fits(self) -> int:
        """All of them."""
        return sum(self.fits(probing) for probing in self.probings)

    @property
    def cost(self) -> str:
        """The cost in one line."""
        o = self.options
        targets = len({probing.question.target for probing in self.probings})
        models = len({probing.who for probing in self.probings})
        return (
            f"{self.n_fits:,} fits: {targets} {'target' if targets == 1 else 'targets'}, {models} "
            f"{'model' if models == 1 else 'models'}, {o.folds} folds, 1 + {o.controls} shuffled, "
            f"at every {'head' if o.of == 'z' else 'layer'} and the embedding."
        )

    def run(
        self, *, resume: Path | None = None, command: str | None = None, progress: Progress = silent
    ) -> ProbeResult:
        """Fit all probes and judge them.

        Args:
            resume: Folder in which finished rows are kept and looked for.
            command: The command line that asked for this, kept with the result.
            progress: Called after every row; the unit is a fit.
        """
        model, o = self.probings[0].model, self.options
        made_with = provenance(device=str(model.device), dtype=str(model.dtype).removeprefix("torch."), command=command)
        curves: list[Curve] = []
        done, known, features = 0, None, {}
        for probing in self.probings:
            q, rows = probing.question, rows_of(probing.model.info, o.stream)
            store = None
            if resume is not None:
                key = probe_key(probing.model, q, o.stream, settings=self.settings, versions=made_with["versions"])
                store = ShardStore(resume, key)
            outcomes: list[Outcome] = []
            for row in rows:
                outcome = _kept(store, row.name)
                if outcome is None:
                    if known != (probing.who, q.reading.name):
                        known = probing.who, q.reading.name
                        features = read_features(probing.model, q.reading, o.stream, batch_size=o.batch_size)
                    outcome = probe_row(
                        features[row.name][q.rows],
                        q.classes,
                        q.folds,
                        ranked=q.metric == "AUROC",
                        n_controls=o.controls,
                        strength=o.strength,
                        seed=o.seed,
                    )
                    _keep(store, row.name, outcome)
                outcomes.append(outcome)
                done += self.fits(probing) // len(rows)
                progress("probes", done, self.n_fits)
            curves.append(judge_curve(probing.who, q, rows, outcomes, bootstrap=o.bootstrap, seed=o.seed))
        student = next((p.model.info for p in self.probings if p.who == "student"), None)
        return ProbeResult(
            model=model.info,
            student=student,
            task=describe_task(self.batch),
            curves=tuple(curves),
            n_fits=self.n_fits,
            settings=self.settings,
            made_with=made_with,
            notices=self.notices,
        )


def plan_probes(
    model: HookedModel,
    task: Task,
    *,
    student: HookedModel | None = None,
    options: ProbeOptions | None = None,
    progress: Progress = silent,
) -> ProbePlan:
    """Build prompts, classes and folds, and count the fits.

    Args:
        model: The model, or the teacher.
        task: The task.
        student: A second model, probed on the same prompts.
        options: How they are probed.
        progress: Called as prompts are read.

    Raises:
        OptionError: A target cannot be asked of the task.
        TaskError: Too few prompts can be used.
    """
    o = options or ProbeOptions()
    n_prompts, seed, targets, asking = o.n_prompts, o.seed, o.targets, o.asking
    need = o.side == "corrupted" or (o.side == "auto" and task.pairs(1, seed=seed)[0].corrupted is not None)
    batches = _batches(model, student, task, n_prompts=n_prompts, seed=seed, need_corrupted=need, progress=progress)
    names = tuple(targets) if targets else default_targets(batches[0])
    probed: list[tuple[Who, HookedModel, PromptBatch]] = [("model", model, batches[0])]
    if student is not None:
        probed.append(("student", student, batches[-1]))
    if o.random_model:
        probed.append(("random", model.with_random_weights(seed), batches[0]))
    refused: list[str] = []
    probings: list[Probing] = []
    for name in names:
        try:
            asked = [Probing(who=who, model=m, question=ask(m, batch, name, asking)) for who, m, batch in probed]
        except OptionError as error:
            if targets:
                raise
            refused.append(f"Left out: {error}")
            continue
        probings.extend(asked)
    if not probings:
        raise OptionError(f"Task {task.name!r} gives no target that can be probed. {refused[0]}")
    return ProbePlan(
        batch=batches[0],
        probings=tuple(sorted(probings, key=lambda p: [who for who, *_ in probed].index(p.who))),
        options=o,
        settings={**o.record(names), "data": task.data},
        notices=(*refused, *dict.fromkeys(notice for batch in batches for notice in _matter(batch))),
    )


def _batches(
    model: HookedModel,
    student: HookedModel | None,
    task: Task,
    *,
    n_prompts: int,
    seed: int,
    need_corrupted: bool,
    progress: Progress,
) -> tuple[PromptBatch, ...]:
    if student is None:
        made = build_batch(
            task, model, n_prompts=n_prompts, seed=seed, need_corrupted=need_corrupted, progress=progress
        )
        return (made,)
    return shared_batches(
        model, student, task, n_prompts=n_prompts, seed=seed, need_corrupted=need_corrupted, progress=progress
    )


def _matter(batch: PromptBatch) -> tuple[str, ...]:
    """Probes take no means over prompts, so what is said about those is of no concern."""
    return tuple(notice for notice in batch.notices if notice not in batch.about_means)


def _kept(store: ShardStore | None, name: str) -> Outcome | None:
    found = None if store is None else store.load(name)
    if found is None:
        return None
    return Outcome(said=found["said"], control=found["control"], stalled=int(found["stalled"]))


def _keep(store: ShardStore | None, name: str, outcome: Outcome) -> None:
    if store is not None:
        stalled = torch.tensor(outcome.stalled)
        store.save(name, {"said": outcome.said, "control": outcome.control, "stalled": stalled})
