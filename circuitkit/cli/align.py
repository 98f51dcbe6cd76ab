"""`circuitkit align TEACHER STUDENT --task T`."""

import shlex
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from circuitkit.cli import options
from circuitkit.cli.console import notice
from circuitkit.cli.interrupt import kept
from circuitkit.cli.measuring import measuring
from circuitkit.cli.output import check_outputs, default_out
from circuitkit.core.errors import CircuitKitError
from circuitkit.core.run_path import partial_folder

if TYPE_CHECKING:
    from circuitkit.alignment.result import AlignmentResult
    from circuitkit.models.hooked_model import HookedModel
    from circuitkit.tasks.task import Task


def align(
    teacher: Annotated[str, typer.Argument(help="Embedded name, directory, .gguf file or hub id.")],
    student: Annotated[str, typer.Argument(help="The same for the distilled model.")],
    task: options.TaskOption,
    n_prompts: options.Prompts = 384,
    ablation: options.AblationOption = "corrupted-mean",
    method: options.MethodOption = "exact",
    similarity: Annotated[
        Literal["auto", "output", "z", "pattern", "cka"],
        typer.Option("--similarity", help="What of two components is compared."),
    ] = "auto",
    matching: Annotated[
        Literal["greedy", "hungarian", "soft"], typer.Option("--matching", help="How components are paired.")
    ] = "greedy",
    normalize: options.NormalizeOption = "max",
    sign: options.SignOption = "clamp",
    direction: Annotated[
        Literal["teacher", "student"], typer.Option("--direction", help="Whose components look for a partner.")
    ] = "teacher",
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Match only the K most influential of each model.")
    ] = None,
    bootstrap: options.Bootstrap = 1000,
    null: Annotated[
        Literal["shuffle", "random-student", "both", "none"],
        typer.Option("--null", help="What the score is held against."),
    ] = "shuffle",
    controls: Annotated[
        bool, typer.Option(help="Also score the student before distillation, where its origin is known.")
    ] = True,
    fingerprint: Annotated[
        bool,
        typer.Option(
            help="Also compare fingerprints (F): what components do to the answer under counterfactual prompts. "
            "Takes about as long as everything else together."
        ),
    ] = True,
    fingerprint_components: Annotated[
        str,
        typer.Option(
            "--fingerprint-components",
            help="all, or top:K: screen by gradients and measure the K heaviest exactly; auto: all of models with up "
            "to 64 heads and MLPs, none of larger ones.",
        ),
    ] = "auto",
    fingerprint_prompts: Annotated[
        int,
        typer.Option(
            "--fingerprint-prompts",
            help="Prompts for the fingerprints, at most --n-prompts; time grows with prompts x components kept x "
            "kinds x places.",
        ),
    ] = 64,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = "auto",
    data: options.Data = None,
    out: options.Out = None,
    html: options.Html = None,
    json_to: options.Json = None,
    min_alignment: Annotated[
        float | None,
        typer.Option("--min-alignment", help="Exit with 3 when the score's lower bound is below this."),
    ] = None,
) -> int:
    """Match a student's components to its teacher's and score how far their mechanisms agree."""
    names = options.split_tasks(task)
    rows_at_a_time = options.parse_batch_size(batch_size)
    least = options.parse_gate(min_alignment, bootstrap=bootstrap)
    out = out or default_out("align", teacher, student, *names)
    check_outputs(out, html, json_to)
    with kept(out):
        from circuitkit.alignment.align import align as measure
        from circuitkit.cli.delivery import deliver
        from circuitkit.models.loading import load_model
        from circuitkit.tasks.loading import load_tasks

        tasks = load_tasks(names, data=data)
        _check_names(tasks)
        models = load_model(teacher, device=device, dtype=dtype), load_model(student, device=device, dtype=dtype)
        _check_prompts(models, tasks, n_prompts=n_prompts, seed=seed, ablation=ablation)
        results: list[AlignmentResult] = []
        for loaded in tasks:
            with measuring(None if results else out) as progress, _finished_kept(results, out):
                results.append(
                    measure(
                        *models,
                        loaded,
                        n_prompts=n_prompts,
                        ablation=ablation,
                        method=method,
                        similarity=similarity,
                        matching=matching,
                        normalize=normalize,
                        influence_sign=sign,
                        direction=direction,
                        top_k=top_k,
                        bootstrap=bootstrap,
                        null=null,
                        controls=controls,
                        fingerprint=fingerprint,
                        fingerprint_components=fingerprint_components,
                        fingerprint_prompts=fingerprint_prompts,
                        seed=seed,
                        batch_size=rows_at_a_time,
                        resume=partial_folder(out),
                        command=shlex.join(["circuitkit", *sys.argv[1:]]),
                        progress=progress,
                    )
                )
        return deliver(results, out, html=html, json_to=json_to, least=least)


def _check_names(tasks: "Sequence[Task]") -> None:
    from circuitkit.alignment.table import check_task_names

    if len(tasks) > 1:
        check_task_names([task.name for task in tasks])


def _check_prompts(
    models: "tuple[HookedModel, HookedModel]", tasks: "Sequence[Task]", *, n_prompts: int, seed: int, ablation: str
) -> None:
    """Of several tasks, find one that cannot be used before the first is measured."""
    from circuitkit.alignment.prompts import shared_batches
    from circuitkit.interventions.ablation import parse_ablation

    need_corrupted = parse_ablation(ablation).needs_corrupted
    for task in tasks if len(tasks) > 1 else ():
        shared_batches(*models, task, n_prompts=n_prompts, seed=seed, need_corrupted=need_corrupted)


@contextmanager
def _finished_kept(results: "Sequence[AlignmentResult]", out: Path) -> Generator[None]:
    """Where a later task fails, say where the work of the earlier ones is."""
    try:
        yield
    except CircuitKitError:
        if results:
            names = ", ".join(str(result.task["name"]) for result in results)
            notice(f"The sweeps of {names} are kept in {partial_folder(out)} and will be found again.")
        raise
