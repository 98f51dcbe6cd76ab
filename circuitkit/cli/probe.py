"""`circuitkit probe MODEL [STUDENT] --task T --target T`."""

import shlex
import sys
import time
from typing import Annotated, Literal

import typer

from circuitkit.cli import options
from circuitkit.cli.console import notice, progress_bars
from circuitkit.cli.interrupt import kept
from circuitkit.cli.measuring import measuring
from circuitkit.cli.output import check_outputs, default_out, say_where, write_json
from circuitkit.core.errors import OptionError
from circuitkit.core.run_path import drop_partial, partial_folder


def probe(
    model: Annotated[str, typer.Argument(help="Embedded name, directory, .gguf file or hub id.")],
    task: options.OneTaskOption,
    student: Annotated[str | None, typer.Argument(help="A second model, probed on the same prompts.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            help="element-1 (and so on), sequence, next, previous, prior-occurrence (or prior-occurrence-labels), "
            "or a label (IO, S); several with commas; all that the task has if not given.",
        ),
    ] = None,
    of: Annotated[
        Literal["resid_pre", "resid_post", "z"],
        typer.Option("--of", help="Stream before or after each layer, or each head's values."),
    ] = "resid_post",
    at: Annotated[
        str | None, typer.Option("--at", help="Label at which is read; the target's own if not given.")
    ] = None,
    side: Annotated[
        Literal["auto", "clean", "corrupted"],
        typer.Option("--side", help="Which prompts are read; auto: random elements where a task has them."),
    ] = "auto",
    split: Annotated[
        Literal["auto", "words", "filler", "template"],
        typer.Option("--split", help="What held-out prompts must not share with fitted ones."),
    ] = "auto",
    n_prompts: options.Prompts = 768,
    folds: Annotated[int, typer.Option("--folds", help="Parts of the prompts that are held out in turn.")] = 4,
    controls: Annotated[int, typer.Option("--controls", help="How often the control shuffles the labels.")] = 2,
    random_model: Annotated[
        bool, typer.Option("--random-model", help="Also probe the same configuration with random weights.")
    ] = False,
    strength: Annotated[float, typer.Option("--strength", help="Inverse strength C of the L2 penalty.")] = 0.1,
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
    """Ask, layer by layer or head by head, what a linear probe can tell: elements, answers, names, repeats."""
    name, rows_at_a_time = options.one_task(task), options.parse_batch_size(batch_size)
    targets = _targets(",".join(target)) if target else None
    out = out or default_out("probe", model, *([] if student is None else [student]), name, *(targets or []))
    check_outputs(out, html, json_to)
    with kept(out):
        from circuitkit.cli.probe_tables import probe_table
        from circuitkit.models.loading import load_model
        from circuitkit.probes.options import ProbeOptions
        from circuitkit.probes.plan import plan_probes
        from circuitkit.reports.html import report
        from circuitkit.tasks.loading import load_task

        chosen = ProbeOptions(
            targets=targets,
            of=of,
            at=at,
            side=side,
            split=split,
            n_prompts=n_prompts,
            folds=folds,
            controls=controls,
            random_model=random_model,
            strength=strength,
            bootstrap=bootstrap,
            seed=seed,
            batch_size=rows_at_a_time,
        )
        loaded_task = load_task(name, data=data)
        loaded = load_model(model, device=device, dtype=dtype)
        second = None if student is None else load_model(student, device=device, dtype=dtype)
        with progress_bars() as progress:
            plan = plan_probes(loaded, loaded_task, student=second, options=chosen, progress=progress)
        notice(plan.cost)
        before = time.monotonic()
        with measuring(out) as progress:
            command = shlex.join(["circuitkit", *sys.argv[1:]])
            result = plan.run(resume=partial_folder(out), command=command, progress=progress)
        notice(f"{result.n_fits:,} fits took {time.monotonic() - before:.0f} s.")
        result.save(out)
        drop_partial(out)
        write_json(result.to_dict(), json_to)
        probe_table(result)
        say_where(out, report(out, html), json_to=json_to)


def _targets(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise OptionError(f"--target {text[:60]!r} holds an empty name; give names with single commas between them.")
    return names
