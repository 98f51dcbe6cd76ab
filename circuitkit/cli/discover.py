"""`circuitkit discover MODEL --task T --method M`."""

import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuitkit.cli import discovery_options as search_options
from circuitkit.cli import options
from circuitkit.cli.interrupt import kept
from circuitkit.cli.measuring import measuring
from circuitkit.cli.output import check_outputs, default_out, say_where, write_json
from circuitkit.core.errors import OptionError
from circuitkit.core.run_path import drop_partial, partial_folder

if TYPE_CHECKING:
    from circuitkit.core.progress import Progress
    from circuitkit.discovery.circuit import Circuit


def discover(
    model: Annotated[str, typer.Argument(help="Embedded name, directory, .gguf file or hub id.")],
    task: options.OneTaskOption,
    method: search_options.Method = "prune",
    threshold: search_options.Threshold = None,
    node_threshold: search_options.NodeThreshold = None,
    tau: search_options.Tau = None,
    metric: search_options.MetricOption = None,
    top: search_options.Top = None,
    min_effect: search_options.MinEffect = None,
    by: search_options.By = None,
    passes: search_options.Passes = None,
    nodes: search_options.Nodes = None,
    variant: search_options.Variant = None,
    steps: search_options.Steps = None,
    sequential: search_options.Sequential = False,
    sweep: search_options.Sweep = None,
    judge: search_options.JudgeOption = "basic",
    n_prompts: options.Prompts = 64,
    ablation: options.AblationOption = "corrupted-mean",
    bootstrap: options.Bootstrap = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: search_options.Dtype = "auto",
    batch_size: options.BatchSize = "auto",
    data: options.Data = None,
    out: options.Out = None,
    html: options.Html = None,
    json_to: options.Json = None,
) -> None:
    """Find the circuit of a task in a model: the heads and MLPs, or the edges between them, that carry it."""
    name, rows_at_a_time = options.one_task(task), options.parse_batch_size(batch_size)
    values = None if sweep is None else search_options.parse_values(sweep)
    out = out or default_out("discover", model, name, method, *(["sweep"] if values else []))
    check_outputs(out, html, json_to)
    with kept(out):
        from circuitkit.cli.circuit_tables import circuit_table, sweep_table
        from circuitkit.discovery.circuit_sweep import PARAMETERS, CircuitSweep, sweep_circuits
        from circuitkit.discovery.discover import discover as measure
        from circuitkit.discovery.search import SearchOptions, check_options
        from circuitkit.models.loading import load_model
        from circuitkit.reports.html import report
        from circuitkit.tasks.loading import load_task

        chosen = SearchOptions(
            threshold=threshold,
            node_threshold=node_threshold,
            tau=tau,
            metric=metric,
            top=top,
            min_effect=min_effect,
            by=by,
            passes=passes,
            nodes=nodes,
            variant=variant,
            steps=steps,
            sequential=sequential or None,
        )
        check_options(method, chosen)
        if values and getattr(chosen, PARAMETERS[method]) is not None:
            raise OptionError(f"--sweep gives the values of --{PARAMETERS[method]} for {method}; drop one of them.")
        loaded_task = load_task(name, data=data)
        loaded = load_model(model, device=device, dtype=dtype, widened=dtype == "auto")
        with measuring(out) as progress:

            def search(given: Mapping[str, Any], progress: "Progress" = progress) -> "Circuit":
                return measure(
                    loaded,
                    loaded_task,
                    method=method,
                    options=chosen,
                    n_prompts=n_prompts,
                    ablation=ablation,
                    judged=judge,
                    bootstrap=bootstrap,
                    seed=seed,
                    batch_size=rows_at_a_time,
                    as_loaded=dtype != "auto",
                    resume=partial_folder(out),
                    command=shlex.join(["circuitkit", *sys.argv[1:]]),
                    progress=progress,
                    **given,
                )

            result = search({}) if values is None else sweep_circuits(search, method, values, progress=progress)
        result.save(out)
        drop_partial(out)
        write_json(result.to_dict(), json_to)
        if isinstance(result, CircuitSweep):
            sweep_table(result)
        else:
            circuit_table(result)
        say_where(out, report(out, html), json_to=json_to)
