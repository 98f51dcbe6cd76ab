"""`circuitkit influence MODEL --task T`."""

import shlex
import sys
from typing import Annotated

import typer

from circuitkit.cli import options
from circuitkit.cli.interrupt import kept
from circuitkit.cli.measuring import measuring
from circuitkit.cli.output import check_outputs, default_out, say_where, write_json
from circuitkit.core.run_path import drop_partial, partial_folder


def influence(
    model: Annotated[str, typer.Argument(help="Embedded name, directory, .gguf file or hub id.")],
    task: options.OneTaskOption,
    n_prompts: options.Prompts = 384,
    ablation: options.AblationOption = "corrupted-mean",
    method: options.MethodOption = "exact",
    normalize: options.NormalizeOption = "max",
    sign: options.SignOption = "clamp",
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
    """Measure how much every attention head and MLP contributes to a task."""
    name = options.one_task(task)
    rows_at_a_time = options.parse_batch_size(batch_size)
    out = out or default_out("influence", model, name)
    check_outputs(out, html, json_to)
    with kept(out):
        from circuitkit.cli.tables import influence_table
        from circuitkit.discovery.influence import influence as measure
        from circuitkit.models.loading import load_model
        from circuitkit.reports.html import report
        from circuitkit.tasks.loading import load_task

        loaded_task = load_task(name, data=data)
        loaded = load_model(model, device=device, dtype=dtype)
        with measuring(out) as progress:
            result = measure(
                loaded,
                loaded_task,
                n_prompts=n_prompts,
                ablation=ablation,
                method=method,
                normalize=normalize,
                sign=sign,
                bootstrap=bootstrap,
                seed=seed,
                batch_size=rows_at_a_time,
                resume=partial_folder(out),
                command=shlex.join(["circuitkit", *sys.argv[1:]]),
                progress=progress,
            )
        result.save(out)
        drop_partial(out)
        write_json(result.to_dict(), json_to)
        influence_table(result)
        say_where(out, report(out, html), json_to=json_to)
