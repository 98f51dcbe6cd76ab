"""`circuitkit patch MODEL --task T`."""

import shlex
import sys
from typing import Annotated, Literal

import typer

from circuitkit.cli import options
from circuitkit.cli.interrupt import kept
from circuitkit.cli.measuring import measuring
from circuitkit.cli.output import check_outputs, default_out, say_where, write_json
from circuitkit.core.run_path import drop_partial, partial_folder

_Parts = Annotated[
    str | None,
    typer.Option(
        "--parts",
        help="What is patched, with commas: block, head (or z), mlp, q, k, v, pattern. block, and head and mlp as far "
        "as --components has any, if not given.",
    ),
]
_Direction = Annotated[
    Literal["denoise", "noise"],
    typer.Option("--direction", help="Clean activations into corrupted prompts (denoise), or the reverse (noise)."),
]
_Positions = Annotated[
    Literal["labels", "tokens"], typer.Option("--positions", help="Patch at the task's labels or at every token.")
]
_Components = Annotated[
    str | None, typer.Option("--components", help="Heads and MLPs to patch, with commas; all if not given.")
]


def patch(
    model: Annotated[str, typer.Argument(help="Embedded name, directory, .gguf file or hub id.")],
    task: options.OneTaskOption,
    n_prompts: options.Prompts = 64,
    parts: _Parts = None,
    direction: _Direction = "denoise",
    positions: _Positions = "labels",
    components: _Components = None,
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
    """Patch activations between clean and corrupted prompts: where is the answer carried?"""
    name = options.one_task(task)
    rows_at_a_time = options.parse_batch_size(batch_size)
    out = out or default_out("patch", model, name)
    check_outputs(out, html, json_to)
    with kept(out):
        from circuitkit.cli.patch_table import patch_table
        from circuitkit.models.loading import load_model
        from circuitkit.probes.patching import activation_patching
        from circuitkit.reports.html import report
        from circuitkit.tasks.loading import load_task

        loaded_task = load_task(name, data=data)
        loaded = load_model(model, device=device, dtype=dtype)
        with measuring(out) as progress:
            result = activation_patching(
                loaded,
                loaded_task,
                parts=None if parts is None else _listed(parts),
                direction=direction,
                positions=positions,
                components=None if components is None else _listed(components),
                n_prompts=n_prompts,
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
        patch_table(result)
        say_where(out, report(out, html), json_to=json_to)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
