"""`circuitkit tasks [NAME]`."""

from typing import Annotated

import typer

from circuitkit.cli import options


def tasks(
    name: Annotated[str | None, typer.Argument(help="A task to show; all are listed if not given.")] = None,
    n_prompts: Annotated[int, typer.Option("--n-prompts", "-n", min=1, help="Example prompts to show.")] = 3,
    seed: options.Seed = 0,
    data: options.Data = None,
) -> None:
    """List the tasks, or show one with example prompts."""
    from circuitkit.tasks.loading import available_tasks, load_task

    if name is None:
        for each in available_tasks():
            typer.echo(f"{each:14}{load_task(each).title}")
        typer.echo("Your own: --task FILE.toml or --task FILE.jsonl (see README, 'Tasks, and your own').")
        return
    task = load_task(name, data=data)
    typer.echo(f"{task.name}: {task.title}\nsource  {task.citation}\nsha256  {task.sha256}")
    for pair in task.pairs(n_prompts, seed=seed):
        typer.echo(f"\ntemplate   {pair.template}\nclean      {pair.clean!r}\ncorrupted  {pair.corrupted!r}")
        typer.echo(f"answers    {pair.correct!r} against {pair.incorrect!r}")
        spans = {label: pair.clean[slice(*span)] for label, span in pair.labels.items()}
        typer.echo(f"labels     {', '.join(f'{label}={text!r}' for label, text in spans.items())}")
    if task.kinds:
        typer.echo("\nWays to change a prompt (counterfactual kinds), each with an example:")
    for kind in task.kinds:
        clean, text = task.example(kind, seed=seed)
        typer.echo(f"\n{kind}\nclean      {clean!r}\nchanged    {text!r}")
