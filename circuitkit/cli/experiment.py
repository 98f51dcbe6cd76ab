"""`circuitkit experiment [NAME TEACHER STUDENT] --task T`."""

import shlex
import sys
from typing import Annotated, Literal

import typer

from circuitkit.cli import options
from circuitkit.cli.battery import NAME as BATTERY
from circuitkit.cli.battery import TITLE, refuse_foreign, run_battery
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
        typer.Option("--task", "--tasks", "-t", help="A task; several with commas for some (cross-task, ...)."),
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
    families: Annotated[
        str | None, typer.Option("--families", help="battery: gpt2, bert, llama, with commas; gpt2 if not given.")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="battery: seeds of every student; 1.")] = None,
    students: Annotated[
        str | None,
        typer.Option("--students", help="battery: students with commas; those that are soon trained if not given."),
    ] = None,
    n_prompts: Annotated[
        int | None, typer.Option("--n-prompts", "-n", help="Prompts to draw from the task; 384, battery: 96.")
    ] = None,
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
    bootstrap: Annotated[
        int | None, typer.Option("--bootstrap", help="Draws for the 95% intervals; 0: none; 1000, battery: 200.")
    ] = None,
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
    if name == BATTERY:
        if teacher is not None:
            raise OptionError(f"The battery makes its own students and takes no model; leave {teacher!r} out.")
        refuse_foreign(
            levels=levels,
            repeats=repeats,
            where=where,
            unit=unit,
            search=search,
            top=top,
            data=data,
            ablation=None if ablation == "corrupted-mean" else ablation,
            method=None if method == "exact" else method,
            similarity=None if similarity == "auto" else similarity,
            matching=None if matching == "greedy" else matching,
            normalize=None if normalize == "max" else normalize,
            device=None if device in ("auto", "cpu") else device,
            dtype=None if dtype in ("auto", "float32") else dtype,
            batch_size=None if batch_size == "auto" else batch_size,
        )
        run_battery(
            families=families,
            tasks=task,
            seeds=seeds,
            students=students,
            n_prompts=96 if n_prompts is None else n_prompts,
            bootstrap=200 if bootstrap is None else bootstrap,
            seed=seed,
            out=out,
            html=html,
            json_to=json_to,
        )
        return
    from circuitkit.experiments.experiment import check_study
    from circuitkit.experiments.study_options import StudyOptions

    check_study(name, StudyOptions())
    for option, value in (("--families", families), ("--seeds", seeds), ("--students", students)):
        if value is not None:
            raise OptionError(f"Only the battery takes {option}; leave it out of experiment {name!r}.")
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
                n_prompts=384 if n_prompts is None else n_prompts,
                ablation=ablation,
                method=method,
                similarity=similarity,
                matching=matching,
                normalize=normalize,
                bootstrap=1000 if bootstrap is None else bootstrap,
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

    titles = {**{name: kind.title for name, kind in STUDIES.items()}, BATTERY: TITLE}
    width = max(map(len, titles))
    for name, title in titles.items():
        typer.echo(f"{name:{width}}  {title}")
