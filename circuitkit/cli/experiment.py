"""`circuitkit experiment [NAME TEACHER STUDENT] --task T`."""

import shlex
import sys
from typing import Annotated, Literal

import typer

from circuitkit.cli import options
from circuitkit.cli.interrupt import kept
from circuitkit.cli.measuring import measuring
from circuitkit.cli.output import check_outputs, default_out, say_where, write_json
from circuitkit.core.errors import OptionError
from circuitkit.core.run_path import drop_partial, partial_folder


def experiment(
    name: Annotated[str | None, typer.Argument(help="Which experiment; none lists them.")] = None,
    teacher: Annotated[str | None, typer.Argument(help="Embedded name, directory, .gguf file or hub id.")] = None,
    student: Annotated[str | None, typer.Argument(help="The same for the distilled model.")] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", help="A task; several with commas for some (cross-task, ...)."),
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option("--levels", help="noise, threshold: values swept, 0,0.5,1 or FIRST:LAST:STEP."),
    ] = None,
    repeats: Annotated[int | None, typer.Option("--repeats", help="noise: draws at each level; 5.")] = None,
    where: Annotated[
        Literal["compared", "forward", "both"] | None,
        typer.Option("--where", help="noise: on what is compared (default), in the student's run, or both."),
    ] = None,
    unit: Annotated[
        Literal["activation", "rms"] | None,
        typer.Option("--unit", help="noise: in the activations' units (default) or each component's rms."),
    ] = None,
    search: Annotated[
        Literal["prune", "path-patching"] | None,
        typer.Option("--search", help="threshold: how circuits are found; prune if not given."),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", help="attention, qk, pca: matched pairs drawn; 6, 3 and 3.")
    ] = None,
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
    bootstrap: options.Bootstrap = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = "auto",
    data: options.Data = None,
    out: options.Out = None,
    html: options.Html = None,
    json_to: options.Json = None,
) -> None:
    """Run one of the experiments of Distilled Circuits on any two models; without a name, list them."""
    if name is None:
        _list()
        return
    from circuitkit.experiments.experiment import check_study
    from circuitkit.experiments.study_options import StudyOptions

    check_study(name, StudyOptions())
    if teacher is None or student is None or task is None:
        raise OptionError(
            f"Experiment {name!r} needs two models and a task: circuitkit experiment {name} TEACHER STUDENT --task T."
        )
    names, rows_at_a_time = options.split_tasks(task), options.parse_batch_size(batch_size)
    out = out or default_out("experiment", name, teacher, student, *names)
    check_outputs(out, html, json_to)
    with kept(out):
        from circuitkit.cli.study_tables import study_table
        from circuitkit.experiments.experiment import experiment as measure
        from circuitkit.experiments.study_options import parse_levels
        from circuitkit.models.loading import load_model
        from circuitkit.reports.html import report
        from circuitkit.tasks.loading import load_tasks

        chosen = StudyOptions(
            levels=None if levels is None else parse_levels(levels),
            repeats=repeats,
            where=where,
            unit=unit,
            search=search,
            top=top,
        )
        check_study(name, chosen, n_tasks=len(names))
        tasks = load_tasks(names, data=data)
        models = load_model(teacher, device=device, dtype=dtype), load_model(student, device=device, dtype=dtype)
        with measuring(out) as progress:
            result = measure(
                name,
                *models,
                tasks,
                options=chosen,
                n_prompts=n_prompts,
                ablation=ablation,
                method=method,
                similarity=similarity,
                matching=matching,
                normalize=normalize,
                bootstrap=bootstrap,
                seed=seed,
                batch_size=rows_at_a_time,
                resume=partial_folder(out),
                command=shlex.join(["circuitkit", *sys.argv[1:]]),
                as_loaded=dtype != "auto",
                progress=progress,
            )
        result.save(out)
        drop_partial(out)
        write_json(result.to_dict(), json_to)
        study_table(result)
        say_where(out, report(out, html), json_to=json_to)


def _list() -> None:
    from circuitkit.experiments.catalogue import STUDIES

    width = max(map(len, STUDIES))
    for name, kind in STUDIES.items():
        typer.echo(f"{name:{width}}  {kind.title}")
