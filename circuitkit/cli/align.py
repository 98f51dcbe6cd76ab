"""`circuitkit align TEACHER STUDENT --task T`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from circuitkit.cli import options
from circuitkit.cli.console import notice, progress_bars
from circuitkit.cli.output import check_outputs, default_out, write_json
from circuitkit.core.errors import CircuitKitError, OptionError
from circuitkit.core.run_path import drop_partial, partial_folder

if TYPE_CHECKING:
    from circuitkit.alignment.result import AlignmentResult

GATE_NOT_MET = 3


def align(
    teacher: Annotated[str, typer.Argument(help="Embedded name, directory, .gguf file or hub id.")],
    student: Annotated[str, typer.Argument(help="The same for the distilled model.")],
    task: options.TaskOption,
    n_prompts: options.Prompts = 384,
    ablation: options.AblationOption = "corrupted-mean",
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
    if min_alignment is not None and not bootstrap:
        raise OptionError("--min-alignment needs the score's interval, and --bootstrap 0 turns it off; drop one.")
    out = out or default_out("align", teacher, student, *names)
    check_outputs(out, html, json_to)
    from circuitkit.alignment.align import align as measure
    from circuitkit.models.loading import load_model
    from circuitkit.tasks.loading import load_task

    tasks = [load_task(name, data=data) for name in names]
    models = [load_model(name, device=device, dtype=dtype) for name in (teacher, student)]
    results: list[AlignmentResult] = []
    try:
        for loaded in tasks:
            with progress_bars() as progress:
                results.append(
                    measure(
                        models[0],
                        models[1],
                        loaded,
                        n_prompts=n_prompts,
                        ablation=ablation,
                        similarity=similarity,
                        matching=matching,
                        normalize=normalize,
                        influence_sign=sign,
                        direction=direction,
                        top_k=top_k,
                        bootstrap=bootstrap,
                        null=null,
                        controls=controls,
                        seed=seed,
                        batch_size=rows_at_a_time,
                        resume=partial_folder(out),
                        command=shlex.join(["circuitkit", *sys.argv[1:]]),
                        progress=progress,
                    )
                )
    except KeyboardInterrupt as interrupt:
        notice(f"Interrupted. Finished shards are kept in {partial_folder(out)}; the same command goes on there.")
        raise typer.Abort from interrupt
    except CircuitKitError:
        if results:
            notice(f"What the tasks before this one took is kept in {partial_folder(out)} and will be found again.")
        raise
    return _deliver(results, out, html, json_to, min_alignment)


def _deliver(
    results: "list[AlignmentResult]", out: Path, html: Path | None, json_to: str | None, least: float | None
) -> int:
    """Save, print and draw finished results; the exit code says whether the gate was met."""
    from circuitkit.alignment.table import save_table, table_dict
    from circuitkit.cli.tables import alignment_table, task_table
    from circuitkit.reports.html import report

    if len(results) == 1:
        results[0].save(out)
        write_json(results[0].to_dict(), json_to)
        alignment_table(results[0])
    else:
        save_table(results, out)
        write_json(table_dict(results), json_to)
        task_table(results)
    drop_partial(out)
    page = report(out, html)
    say = notice if json_to == "-" else typer.echo
    say(f"run     {out}")
    say(f"report  {page}")
    return _gate(results, least)


def _gate(results: "list[AlignmentResult]", least: float | None) -> int:
    if least is None:
        return 0
    bounds = {str(result.task["name"]): result.scores.ci95 for result in results}
    below = {name: bound[0] for name, bound in bounds.items() if bound is not None and bound[0] < least}
    for name, low in below.items():
        notice(f"Gate not met on {name}: the score's lower bound is {low:.3f}, wanted {least} or more.")
    return GATE_NOT_MET if below else 0
