"""`circuitkit reproduce distilled-circuits [--pairs T/S,...]`."""

import shlex
import sys
import time
from typing import Annotated

import typer

from circuitkit.cli import options
from circuitkit.cli.console import notice
from circuitkit.cli.interrupt import kept
from circuitkit.cli.measuring import measuring
from circuitkit.cli.output import check_outputs, default_out, say_where, write_json
from circuitkit.core.errors import OptionError
from circuitkit.core.run_path import drop_partial, partial_folder


def reproduce(
    paper: Annotated[str, typer.Argument(help="Which paper: distilled-circuits.")],
    pairs: Annotated[
        str | None,
        typer.Option(
            "--pairs",
            help="TEACHER/STUDENT with commas, or TEACHER:STUDENT where names hold slashes; the paper's pairs that the "
            "local hub cache holds and the embedded ones if not given.",
        ),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option("--tasks", "--task", "-t", help="Tasks with commas; those of the paper if not given.")
    ] = None,
    studies: Annotated[str | None, typer.Option("--studies", help="Experiments with commas; all if not given.")] = None,
    n_prompts: Annotated[
        int | None,
        typer.Option(
            "--n-prompts",
            "-n",
            help="Prompts of each task; 384 if not given, 32 for pairs whose teacher has more than 200 heads and MLPs.",
        ),
    ] = None,
    bootstrap: options.Bootstrap = 1000,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = "auto",
    out: options.Out = None,
    html: options.Html = None,
    json_to: options.Json = None,
) -> None:
    """Run every experiment of a paper on each pair at hand and set ours beside the published figures."""
    rows_at_a_time = options.parse_batch_size(batch_size)
    names = None if tasks is None else options.split_tasks(tasks)
    chosen = None if studies is None else _listed(studies)
    out = out or default_out("reproduce", paper)
    check_outputs(out, html, json_to)
    with kept(out):
        from circuitkit.cli.study_tables import findings_tables
        from circuitkit.experiments.reproduce.reproduce import reproduce as run
        from circuitkit.reports.html import report

        before = time.monotonic()
        with measuring(out) as progress:
            result = run(
                paper,
                pairs=pairs,
                tasks=names,
                studies=chosen,
                n_prompts=n_prompts,
                bootstrap=bootstrap,
                seed=seed,
                device=device,
                dtype=dtype,
                batch_size=rows_at_a_time,
                resume=partial_folder(out),
                command=shlex.join(["circuitkit", *sys.argv[1:]]),
                progress=progress,
                say=notice,
            )
        result.save(out)
        drop_partial(out)
        write_json(result.to_dict(), json_to)
        findings_tables(
            "Claims of the paper", result.findings, [result.claims_table, *(p.compared for p in result.pairs)]
        )
        n_studies = sum(len(pair.studies) for pair in result.pairs)
        notice(f"{n_studies} studies on {len(result.pairs)} pairs took {time.monotonic() - before:.0f} s.")
        say_where(out, report(out, html), json_to=json_to)


def _listed(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise OptionError(f"--studies {text[:60]!r} holds an empty name; give names with single commas between them.")
    return names
