"""`circuitkit roles MODEL --task T`."""

import shlex
import sys
from typing import Annotated

import typer

from circuitkit.cli import options
from circuitkit.cli.interrupt import kept
from circuitkit.cli.measuring import measuring
from circuitkit.cli.output import check_outputs, default_out, say_where, write_json
from circuitkit.core.run_path import drop_partial, partial_folder

Alpha = Annotated[float, typer.Option("--alpha", help="Share of false claims that is accepted among all claims.")]
MinAttention = Annotated[
    float, typer.Option("--min-attention", help="Least attention on a role's keys, as a share of what chance leaves.")
]
MinEffect = Annotated[
    float, typer.Option("--min-effect", help="Least causal effect, as a share of the mean logit difference.")
]
MinWrite = Annotated[float, typer.Option("--min-write", help="Least share of prompts in which the write is right.")]


def roles(
    model: Annotated[str, typer.Argument(help="Embedded name, directory, .gguf file or hub id.")],
    task: options.OneTaskOption,
    n_prompts: options.Prompts = 64,
    alpha: Alpha = 0.05,
    min_attention: MinAttention = 0.2,
    min_effect: MinEffect = 0.02,
    min_write: MinWrite = 0.5,
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
    """Find out what every attention head does: roles with their evidence, or unknown; and what MLPs add."""
    name = options.one_task(task)
    rows_at_a_time = options.parse_batch_size(batch_size)
    out = out or default_out("roles", model, name)
    check_outputs(out, html, json_to)
    with kept(out):
        from circuitkit.cli.role_tables import role_table
        from circuitkit.models.loading import load_model
        from circuitkit.reports.html import report
        from circuitkit.roles.assign import find_roles
        from circuitkit.roles.evidence import Floors
        from circuitkit.tasks.loading import load_task

        Floors(alpha=alpha, attention=min_attention, effect=min_effect, write=min_write)  # before a model is loaded
        loaded_task = load_task(name, data=data)
        loaded = load_model(model, device=device, dtype=dtype)
        with measuring(out) as progress:
            result = find_roles(
                loaded,
                loaded_task,
                n_prompts=n_prompts,
                alpha=alpha,
                min_attention=min_attention,
                min_effect=min_effect,
                min_write=min_write,
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
        role_table(result)
        say_where(out, report(out, html), json_to=json_to)
