"""Where results go: the run directory, JSON and the report, checked before any work is done."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import typer

from circuitkit.cli.console import notice
from circuitkit.core.digest import digest
from circuitkit.core.errors import ResultError
from circuitkit.core.run_path import check_names, check_target
from circuitkit.core.utf8 import printable

_LONGEST = 120


def default_out(*names: str) -> Path:
    """`runs/NAME`, the name made of what was measured; a path contributes its last part, and a long name is cut."""
    parts = [
        re.sub(r"[^A-Za-z0-9._+-]+", "_", Path(name).name.removesuffix(".toml").removesuffix(".jsonl"))
        for name in names
    ]
    name = "-".join(part.strip(".") or "x" for part in parts)
    if len(name) > _LONGEST:
        whole = digest([printable(name) for name in names])
        name = f"{name[: _LONGEST - 1 - len(whole)]}-{whole}"
    return Path("runs") / name


def check_outputs(out: Path, html: Path | None, json_to: str | None) -> None:
    """Refuse output paths that cannot be written.

    Raises:
        ResultError: A directory is in the way, or there is no directory to write into.
    """
    check_target(out)
    for option, file in (("--html", html), ("--json", None if json_to in (None, "-") else Path(str(json_to)))):
        if file is None:
            continue
        try:
            check_names(file, file.parent / f".{file.name}.{'x' * 8}")
        except OSError as error:
            raise ResultError(f"{option} {str(file)[:120]!r} cannot be used: {error.strerror}.") from error
        if file.is_dir():
            raise ResultError(f"{option} {str(file)!r} is a directory; give a file name.")
        if not file.absolute().parent.is_dir():
            raise ResultError(
                f"{option} {str(file)!r}: there is no directory {str(file.parent)!r}; make it or name another."
            )


def say_where(out: Path, page: Path, *, json_to: str | None) -> None:
    """Print where the run and its report are; standard output belongs to the JSON where that goes there."""
    say = notice if json_to == "-" else typer.echo
    say(printable(f"run     {out}"))
    say(printable(f"report  {page}"))


def write_json(result: dict[str, Any], to: str | None) -> None:
    """Write the result to a file, or to standard output for `-`; None does nothing.

    Raises:
        ResultError: The file cannot be written.
    """
    if to is None:
        return
    text = printable(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"
    if to == "-":
        sys.stdout.write(text)
        return
    try:
        Path(to).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultError(f"--json {to!r} could not be written: {error}. Name another file.") from error
