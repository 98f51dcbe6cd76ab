"""Where runs live on disk; free of torch, so that the command line can check a path at once."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from circuitkit.core.errors import ResultError

RESULT, TENSORS, REPORT = "result.json", "tensors.safetensors", "report.html"
RUN_FILES = frozenset({RESULT, TENSORS, REPORT})
INSIDE = "runs"
"""Key under which a result names the runs inside its directory."""

_RANDOM = "x" * 8  # what tempfile adds to a name
_INSIDE = "x" * 60  # no path inside a run or its shards is longer


def check_target(path: Path) -> None:
    """Refuse, before any work is done, a place that a run cannot be written to.

    Raises:
        ResultError: The path is a file, the current directory or a directory that holds anything but a run;
            its name is too long; or its parent cannot be written.
    """
    shown = repr(str(path)[:120])
    try:
        _check(path, shown)
    except OSError as error:
        raise ResultError(f"Output {shown} cannot be used: {error.strerror}. Name another with --out.") from error


def _check(path: Path, shown: str) -> None:
    here = Path.cwd()
    if path.name in ("", "..") or path.resolve() in (here, *here.parents):
        raise ResultError(
            f"Output {shown} is the current directory or one around it, which cannot be replaced by a run. "
            "Name a directory inside it with --out."
        )
    check_names(path, partial_folder(path) / _INSIDE, path.with_name(f".{path.name}.{_RANDOM}") / _INSIDE)
    if (path.exists() or path.is_symlink()) and not path.is_dir():
        raise ResultError(f"Output {shown} is a file; a run needs a directory. Name another with --out.")
    if path.is_dir() and (foreign := _foreign(path)) is not None:
        raise ResultError(
            f"Output {shown} is a directory with other files in it ({foreign!r}); a run replaces only an earlier "
            "run. Name another with --out."
        )
    parent = _standing(path.absolute().parent)
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ResultError(f"Output {shown} cannot be written: no right to write in {str(parent)!r}.")


def check_names(*paths: Path) -> None:
    """Find out whether files may be called so; nothing need be there.

    Raises:
        OSError: A name or a whole path is longer than the file system takes.
    """
    for path in map(Path.absolute, paths):
        parent = _standing(path)
        # the system looks at a name only in a folder that there is, and at the length of a path always
        for probe in (path, *(parent / name for name in path.relative_to(parent).parts)):
            try:
                probe.lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue


def _standing(path: Path) -> Path:
    """The path, or the nearest of its parents that exists."""
    while not os.path.lexists(path):
        path = path.parent
    return path


def _foreign(folder: Path) -> str | None:
    """An entry of the folder that no run wrote, None where there is none."""
    entries = sorted(folder.iterdir())
    if not entries:
        return None
    result = _result(folder)
    if result is None:
        return RESULT if folder / RESULT in entries else entries[0].name
    inner = result.get(INSIDE, [])
    for entry in entries:
        if entry.name in RUN_FILES and not entry.is_dir():
            continue
        if not isinstance(inner, list) or entry.name not in inner or entry.is_symlink() or not entry.is_dir():
            return entry.name
        if (nested := _foreign(entry)) is not None:
            return f"{entry.name}/{nested}"
    return None


def _result(folder: Path) -> dict[str, Any] | None:
    """What `result.json` holds, None if that is none of ours."""
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    ours = isinstance(result, dict) and str(result.get("schema")).startswith("circuitkit.")
    return result if ours else None


def partial_folder(path: Path) -> Path:
    """Where the shards of a run in the making are kept: a hidden sibling of the run directory."""
    return path.parent / f".{path.name}.partial"


def drop_partial(path: Path) -> None:
    """Delete the shards of a run that is now whole."""
    shutil.rmtree(partial_folder(path), ignore_errors=True)
