"""Every experiment of Distilled Circuits on every pair at hand, beside the published figures."""

from collections.abc import Sequence
from pathlib import Path

from circuitkit.alignment.settings import BatchSize
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.core.seeds import check_seed
from circuitkit.experiments.published.figures import PublishedPair, published
from circuitkit.experiments.reproduce.pairs import PairNames, choose_pairs, parse_pairs
from circuitkit.experiments.reproduce.plan import plan_studies, tasks_of
from circuitkit.experiments.reproduce.result import PairResult, Reproduction, run_folder
from circuitkit.experiments.reproduce.run_pair import PairRun, RunOptions, Say, try_pair
from circuitkit.models.architecture import class_name
from circuitkit.models.config_file import read_config
from circuitkit.models.placement import choose_device, choose_dtype
from circuitkit.models.sources import locate
from circuitkit.models.supported import FAMILIES
from circuitkit.tasks.loading import load_tasks

PAPERS = ("distilled-circuits",)


def reproduce(
    paper: str = "distilled-circuits",
    *,
    pairs: str | Sequence[tuple[str, str]] | None = None,
    tasks: Sequence[str] | None = None,
    studies: Sequence[str] | None = None,
    n_prompts: int | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: BatchSize = "auto",
    resume: Path | None = None,
    command: str | None = None,
    progress: Progress = silent,
    say: Say | None = None,
) -> Reproduction:
    """Run every study of a paper on each pair of models, and set ours beside what was published.

    Nothing is downloaded: pairs of the hub are run if its local cache has them, and are named if not.

    Args:
        paper: `distilled-circuits` (Haskins & Adams 2026, arXiv 2505.10822v2).
        pairs: `T/S,T/S` or pairs of names; the paper's pairs and the embedded ones if not given.
        tasks: Tasks of every pair; numerals, numwords and ioi if not given, and simpleqa for Llama pairs.
        studies: Which studies; all if not given.
        n_prompts: Prompts of each task; 384 if not given, 32 for pairs whose teacher has more than 200 heads and MLPs.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of everything random.
        device: Device of the models.
        dtype: Number format of the models.
        batch_size: Rows run at a time.
        resume: Folder in which finished studies and pieces of sweeps are kept and looked for.
        command: The command line that asked for this, kept with the result.
        progress: Called as the work advances.
        say: Told of every finished study and its cost.

    Raises:
        OptionError: An option is unknown or out of range, or a pair is not understood.
        TaskError: There is no such task.
        ModelError: No pair is at hand, or none could be run.
    """
    if paper not in PAPERS:
        raise OptionError(f"Paper {paper!r} unknown; choose one of {', '.join(PAPERS)}.")
    say = say or _quiet
    _check(n_prompts=n_prompts, bootstrap=bootstrap)
    options = RunOptions(
        n_prompts=n_prompts,
        bootstrap=bootstrap,
        seed=check_seed(seed),
        device=device,
        dtype=dtype,
        batch_size=batch_size,
    )
    plan_studies(studies, tasks or ("numerals",))  # an unknown study is told before any model is looked for
    choose_device(device)
    choose_dtype(dtype)
    run, skipped = choose_pairs(_given(pairs))
    like_of = {pair: _like(pair) for pair in run}
    _check_folders(run)
    asked = tasks if tasks is not None else list(dict.fromkeys(t for like in like_of.values() for t in _tasks(like)))
    known = {task.name: task for task in load_tasks(asked)}
    missing = list(skipped)  # told when nothing that was given can be refused any more
    for one in skipped:
        say(f"{one.what}: skipped: {one.why}")
    results: list[PairResult] = []
    for names in run:
        like = like_of[names]
        own = _tasks(like) if tasks is None else tuple(known)
        job = PairRun(
            names=names,
            tasks=known,
            options=options,
            folder=resume,
            command=command,
            progress=progress,
            say=say,
        )
        found, lacking = try_pair(job, plan_studies(studies, own))
        missing += lacking
        if found:
            results.append(PairResult.of(names, found, like, tasks=own))
    if not results:
        raise OptionError(
            f"Nothing could be run. {missing[0].what}: {missing[0].why}" if missing else "Nothing to run."
        )
    return Reproduction.of(
        results,
        missing,
        settings={
            "paper": paper,
            "pairs": [str(names) for names in run],
            "tasks": None if tasks is None else list(known),
            "studies": None if studies is None else list(studies),
            "n_prompts": n_prompts,
            "bootstrap": bootstrap,
            "seed": seed,
            "batch_size": batch_size,
        },
        made_with=provenance(device=device, dtype=dtype, command=command),
    )


def _check(*, n_prompts: int | None, bootstrap: int) -> None:
    for what, value, least in (("prompts", n_prompts, 1), ("bootstrap draws", bootstrap, 0)):
        if value is not None and value < least:
            raise OptionError(f"{value} {what} were asked for; give {least} or more.")


def _check_folders(pairs: Sequence[PairNames]) -> None:
    """Runs are named by the last parts of the models' names.

    Raises:
        OptionError: Two pairs would share their names.
    """
    names = [run_folder(pair) for pair in pairs]
    if twice := [str(pair) for pair, name in zip(pairs, names, strict=True) if names.count(name) > 1]:
        raise OptionError(f"Pairs {' and '.join(twice)} would share the names of their runs; reproduce one at a time.")


def _given(pairs: str | Sequence[tuple[str, str]] | None) -> tuple[PairNames, ...] | None:
    if pairs is None:
        return None
    if isinstance(pairs, str):
        return parse_pairs(pairs)
    return tuple(PairNames(teacher=teacher, student=student) for teacher, student in pairs)


def _tasks(like: tuple[PublishedPair, bool] | None) -> tuple[str, ...]:
    return tasks_of(None if like is None else like[0])


def _like(names: PairNames) -> tuple[PublishedPair, bool] | None:
    """The paper's pair to set beside two models, read off their configurations.

    Raises:
        ModelError: A model is not there, or is of no family that is supported.
    """
    families = [
        FAMILIES[class_name(read_config(locate(name, offline=True)), name)].name
        for name in (names.teacher, names.student)
    ]
    return published().pair_like(names.teacher, names.student, (families[0], families[1]))


def _quiet(_line: str) -> None:
    """Tell nobody."""
