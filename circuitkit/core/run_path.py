"""Where runs live on disk; free of torch, so that the command line can check a path at once."""

import os
import shutil
from pathlib import Path

from circuitkit.core.errors import ResultError

RESULT = "result.json"


def check_target(path: Path) -> None:
    """Refuse, before any work is done, a place that a run cannot be written to.

    Raises:
        ResultError: The path is a file or a directory that is no run, or its parent cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise ResultError(f"Output {str(path)!r} is a file; a run needs a directory. Name another with --out.")
    if path.is_dir() and any(path.iterdir()) and not (path / RESULT).exists():
        raise ResultError(
            f"Output {str(path)!r} is a directory with other files in it; a run replaces only an earlier "
            "run. Name another with --out."
        )
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ResultError(f"Output {str(path)!r} cannot be written: no right to write in {str(parent)!r}.")


def partial_folder(path: Path) -> Path:
    """Where the shards of a run in the making are kept: a hidden sibling of the run directory."""
    return path.parent / f".{path.name}.partial"


def drop_partial(path: Path) -> None:
    """Delete the shards of a run that is now whole."""
    shutil.rmtree(partial_folder(path), ignore_errors=True)
