"""What is to be probed, counted before it is paid for; and the measuring itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from circuitkit.alignment.prompts import shared_batches
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.core.run_directory import ShardStore
from circuitkit.core.seeds import check_seed
from circuitkit.models.hooked_model import HookedModel
from circuitkit.probes.features import Stream, parse_stream, read_features, rows_of
from circuitkit.probes.judge import judge_curve
from circuitkit.probes.linear_probe import Outcome, fits_per_row, probe_row
from circuitkit.probes.probe_key import probe_key
from circuitkit.probes.question import Asking, Question
from circuitkit.probes.result import Curve, ProbeResult, Who
from circuitkit.probes.split import parse_split
from circuitkit.probes.targets import ask, default_targets
from circuitkit.tasks.batch import PromptBatch, build_batch
from circuitkit.tasks.describe import describe_task
from circuitkit.tasks.task import Task

N_PROMPTS, N_FOLDS, N_CONTROLS, STRENGTH = 768, 4, 2, 0.1


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
        of: Which activations.
        n_controls: Shuffles of the control.
        strength: Inverse strength C of the penalty.
        bootstrap: Draws for intervals.
        batch_size: Prompts run at a time.
        settings: Every option.
        notices: Plain facts about the prompts.
    """

    batch: PromptBatch
    probings: tuple[Probing, ...]
    of: Stream
    n_controls: int
    strength: float
    bootstrap: int
    batch_size: int | Literal["auto"]
    settings: dict[str, Any]
    notices: tuple[str, ...]

    def fits(self, probing: Probing) -> int:
        """Logistic regressions of one target in one model."""
        q, n_rows = probing.question, len(rows_of(probing.model.info, self.of))
        each = fits_per_row(n_parts=q.classes.shape[0], n_folds=q.folds.n_folds, n_controls=self.n_controls)
        return n_rows * each

    @property
    def n_fits(self) -> int:
        """All of them."""
        return sum(self.fits(probing) for probing in self.probings)

    @property
    def cost(self) -> str:
        """The cost in one line."""
        targets = len({probing.question.target for probing in self.probings})
        models = len({probing.who for probing in self.probings})
        return (
            f"{self.n_fits:,} fits: {targets} {'target' if targets == 1 else 'targets'}, {models} "
            f"{'model' if models == 1 else 'models'}, {self.settings['folds']} folds, 1 + {self.n_controls} shuffled, "
            f"at every {'head' if self.of == 'z' else 'layer'} and the embedding."
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
        model = self.probings[0].model
        made_with = provenance(device=str(model.device), dtype=str(model.dtype).removeprefix("torch."), command=command)
        curves: list[Curve] = []
        done, known, features = 0, None, {}
        for probing in self.probings:
            q, rows = probing.question, rows_of(probing.model.info, self.of)
            store = None
            if resume is not None:
                key = probe_key(probing.model, q, self.of, settings=self.settings, versions=made_with["versions"])
                store = ShardStore(resume, key)
            outcomes: list[Outcome] = []
            for row in rows:
                outcome = _kept(store, row.name)
                if outcome is None:
                    if known != (probing.who, q.reading.name):
                        known = probing.who, q.reading.name
                        features = read_features(probing.model, q.reading, self.of, batch_size=self.batch_size)
                    outcome = probe_row(
                        features[row.name][q.rows],
                        q.classes,
                        q.folds,
                        ranked=q.metric == "AUROC",
                        n_controls=self.n_controls,
                        strength=self.strength,
                        seed=int(self.settings["seed"]),
                    )
                    _keep(store, row.name, outcome)
                outcomes.append(outcome)
                done += self.fits(probing) // len(rows)
                progress("probes", done, self.n_fits)
            seed = int(self.settings["seed"])
            curves.append(judge_curve(probing.who, q, rows, outcomes, bootstrap=self.bootstrap, seed=seed))
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
    targets: Sequence[str] | None = None,
    of: Stream | str = "resid_post",
    at: str | None = None,
    side: str = "auto",
    split: str = "auto",
    n_prompts: int = N_PROMPTS,
    folds: int = N_FOLDS,
    controls: int = N_CONTROLS,
    random_model: bool = False,
    strength: float = STRENGTH,
    bootstrap: int = 1000,
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
    progress: Progress = silent,
) -> ProbePlan:
    """Build prompts, classes and folds, and count the fits; see `probe` for the arguments.

    Raises:
        OptionError: An option is unknown or out of range, or a target cannot be asked of the task.
        TaskError: Too few prompts can be used.
    """
    of, seed = parse_stream(of), check_seed(seed)
    _check(folds=folds, controls=controls, strength=strength, bootstrap=bootstrap)
    asking = Asking(at=at, side=_parse_side(side), split=parse_split(split), n_folds=folds, seed=seed)
    need = side == "corrupted" or (side == "auto" and task.pairs(1, seed=seed)[0].corrupted is not None)
    batches = _batches(model, student, task, n_prompts=n_prompts, seed=seed, need_corrupted=need, progress=progress)
    names = tuple(targets) if targets else default_targets(batches[0])
    if len(set(names)) < len(names):
        raise OptionError(f"Targets {', '.join(names)}: one is named twice; give each once.")
    probed: list[tuple[Who, HookedModel, PromptBatch]] = [("model", model, batches[0])]
    if student is not None:
        probed.append(("student", student, batches[-1]))
    if random_model:
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
        of=of,
        n_controls=controls,
        strength=strength,
        bootstrap=bootstrap,
        batch_size=batch_size,
        settings={
            "targets": list(names),
            "of": of,
            "at": at,
            "side": side,
            "split": split,
            "n_prompts": n_prompts,
            "folds": folds,
            "controls": controls,
            "random_model": random_model,
            "strength": strength,
            "bootstrap": bootstrap,
            "seed": seed,
            "batch_size": batch_size,
            "data": task.data,
        },
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


def _check(*, folds: int, controls: int, strength: float, bootstrap: int) -> None:
    if not 2 <= folds <= 20:
        raise OptionError(f"{folds} folds were asked for; give a whole number from 2 to 20.")
    if not 1 <= controls <= 100:
        raise OptionError(f"{controls} shuffles of the control were asked for; give a whole number from 1 to 100.")
    if not 0 < strength < float("inf"):
        raise OptionError(f"Strength {strength} cannot be used; give a number above 0, such as {STRENGTH}.")
    if bootstrap < 0:
        raise OptionError(f"{bootstrap} bootstrap draws were asked for; give 0 for no intervals, or a positive number.")


def _parse_side(side: str) -> Literal["auto", "clean", "corrupted"]:
    if side not in ("auto", "clean", "corrupted"):
        raise OptionError(f"Side {side!r} unknown; choose one of auto, clean, corrupted.")
    return side


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
