"""`circuitkit models [NAME]`."""

from typing import Annotated

import typer


def models(
    name: Annotated[str | None, typer.Argument(help="An embedded model whose card to print.")] = None,
) -> None:
    """List the embedded models and the families that load, or print a model card."""
    from circuitkit.models.embedded import EMBEDDED, card
    from circuitkit.models.supported import describe_supported

    if name is not None:
        typer.echo(card(name))
        return
    for each in EMBEDDED:
        typer.echo(f"{each:16}{card(each).splitlines()[0].partition(': ')[2]}")
    typer.echo(describe_supported())
