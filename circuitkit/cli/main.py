"""Entry point: one line for bad input, and the exit codes that scripts rely on."""

import os
import sys
from typing import Annotated

import typer

from circuitkit.cli import (
    align,
    compare,
    discover,
    experiment,
    influence,
    models,
    patch,
    probe,
    report,
    reproduce,
    roles,
    tasks,
)
from circuitkit.cli.interrupt import Stopped, terminated_like_interrupted
from circuitkit.core.errors import CircuitKitError
from circuitkit.core.utf8 import printable
from circuitkit.core.version import __version__

DONE, BAD_INPUT, INTERRUPTED = 0, 2, 130

app = typer.Typer(
    name="circuitkit",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Did the student learn the teacher's mechanism, or only its answers?",
)
app.command("align")(align.align)
app.command("influence")(influence.influence)
app.command("discover")(discover.discover)
app.command("compare")(compare.compare)
app.command("probe")(probe.probe)
app.command("patch")(patch.patch)
app.command("experiment")(experiment.experiment)
app.command("reproduce")(reproduce.reproduce)
app.command("roles")(roles.roles)
app.command("tasks")(tasks.tasks)
app.command("models")(models.models)
app.command("report")(report.report)


def _version(value: bool | None) -> bool:
    if value:
        typer.echo(f"circuitkit {__version__} (distribution circuitkit-distill)")
        raise typer.Exit
    return False


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 done, 2 bad input (one line on standard error), 3 a gate was not met, 130 interrupted.
    """
    command = typer.main.get_command(app)
    try:
        with terminated_like_interrupted():
            code = command.main(args=args, prog_name="circuitkit", standalone_mode=False)
    except CircuitKitError as error:
        return _fail(str(error))
    except typer.TyperException as error:
        return _fail(f"{error.format_message().rstrip('.')}. See circuitkit --help.")
    except Stopped:
        return INTERRUPTED
    except (typer.Abort, KeyboardInterrupt):  # click makes the one of the other
        typer.echo("circuitkit: interrupted; nothing was written.", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of our output went away; what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return code if isinstance(code, int) else DONE


def _fail(message: str) -> int:
    line = " ".join(message.split())
    typer.echo(f"circuitkit: {printable(line)}", err=True)
    return BAD_INPUT


def run() -> None:
    """Console script."""
    sys.exit(main())
