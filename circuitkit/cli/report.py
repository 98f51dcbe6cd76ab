"""`circuitkit report RUN`."""

from pathlib import Path
from typing import Annotated

import typer

from circuitkit.core.utf8 import printable


def report(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file; RUN/report.html if not given.")
    ] = None,
) -> None:
    """Draw a saved run as one self-contained HTML file."""
    from circuitkit.reports.html import report as draw

    typer.echo(printable(str(draw(run, output))))
