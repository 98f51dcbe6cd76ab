"""Where results go: the run directory, JSON and the report, checked before any work is done."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from circuitkit.core.errors import ResultError
from circuitkit.core.run_path import check_target


def default_out(*names: str) -> Path:
    """`runs/NAME`, the name made of what was measured; a path contributes its last part."""
    parts = [
        re.sub(r"[^A-Za-z0-9._+-]+", "_", Path(name).name.removesuffix(".toml").removesuffix(".jsonl"))
        for name in names
    ]
    return Path("runs") / "-".join(part.strip(".") or "x" for part in parts)


def check_outputs(out: Path, html: Path | None, json_to: str | None) -> None:
    """Refuse output paths that cannot be written.

    Raises:
        ResultError: A directory is in the way, or there is no directory to write into.
    """
    check_target(out)
    for option, file in (("--html", html), ("--json", None if json_to in (None, "-") else Path(str(json_to)))):
        if file is None:
            continue
        if file.is_dir():
            raise ResultError(f"{option} {str(file)!r} is a directory; give a file name.")
        if not file.absolute().parent.is_dir():
            raise ResultError(
                f"{option} {str(file)!r}: there is no directory {str(file.parent)!r}; make it or name another."
            )


def write_json(result: dict[str, Any], to: str | None) -> None:
    """Write the result to a file, or to standard output for `-`; None does nothing.

    Raises:
        ResultError: The file cannot be written.
    """
    if to is None:
        return
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if to == "-":
        sys.stdout.write(text)
        return
    try:
        Path(to).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultError(f"--json {to!r} could not be written: {error}. Name another file.") from error
