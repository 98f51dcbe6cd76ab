"""`circuitkit compare TEACHER STUDENT --task T`."""

import shlex
import sys
from typing import Annotated

import typer

from circuitkit.cli import discovery_options as search_options
from circuitkit.cli import options
from circuitkit.cli.console import notice
from circuitkit.cli.interrupt import kept
from circuitkit.cli.measuring import measuring
from circuitkit.cli.output import check_outputs, default_out, say_where, write_json
from circuitkit.core.run_path import drop_partial, partial_folder


def compare(
    teacher: Annotated[str, typer.Argument(help="Embedded name, directory, .gguf file or hub id.")],
    student: Annotated[str, typer.Argument(help="The same for the distilled model.")],
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
    judge: search_options.JudgeOption = "basic",
    roles: search_options.Roles = True,
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
    """Put a teacher's and a student's circuits side by side, with matches, robustness and roles."""
    name, rows_at_a_time = options.one_task(task), options.parse_batch_size(batch_size)
    out = out or default_out("compare", teacher, student, name, method)
    check_outputs(out, html, json_to)
    with kept(out):
        from circuitkit.cli.circuit_tables import comparison_table
        from circuitkit.cli.role_comparison_table import role_comparison_table
        from circuitkit.discovery.search import SearchOptions, check_options
        from circuitkit.experiments.compare import compare as measure
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
        loaded_task = load_task(name, data=data)
        models = load_model(teacher, device=device, dtype=dtype), load_model(student, device=device, dtype=dtype)
        with measuring(out) as progress:
            result = measure(
                *models,
                loaded_task,
                method=method,
                options=chosen,
                n_prompts=n_prompts,
                ablation=ablation,
                judged=judge,
                roles=roles,
                bootstrap=bootstrap,
                seed=seed,
                batch_size=rows_at_a_time,
                as_loaded=dtype != "auto",
                resume=partial_folder(out),
                command=shlex.join(["circuitkit", *sys.argv[1:]]),
                progress=progress,
            )
        result.save(out)
        drop_partial(out)
        write_json(result.to_dict(), json_to)
        comparison_table(result)
        if result.roles is not None:
            role_comparison_table(result.roles)
        for warning in result.warnings:
            notice(f"note: {warning}")
        say_where(out, report(out, html), json_to=json_to)
