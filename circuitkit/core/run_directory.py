"""Run directories: `result.json` beside `tensors.safetensors`, written whole or not at all."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from circuitkit.core.errors import ResultError
from circuitkit.core.run_path import INSIDE, RESULT, TENSORS, check_target
from circuitkit.core.utf8 import printable

Axes = Mapping[str, tuple[str, ...]]
Contents = tuple[Mapping[str, Any], Mapping[str, Tensor], Axes]
"""Result, tensors and axes of one run, as `save_run` takes them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """A saved result read back.

    Attributes:
        path: The run directory.
        result: What `result.json` holds.
        tensors: Tensors by name; their axes are named in `result["tensors"]`.
    """

    path: Path
    result: dict[str, Any]
    tensors: dict[str, Tensor]


def save_run(
    path: Path,
    result: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    axes: Axes,
    *,
    children: Mapping[str, Contents] | None = None,
) -> Path:
    """Write a run directory through a temporary sibling, replacing only an earlier run.

    Args:
        path: The run directory; parents are made.
        result: JSON-able result; `schema` must be among its keys. Not-a-number and infinity are refused.
        tensors: Tensors to keep beside it.
        axes: The name of every axis of every tensor, added to the JSON.
        children: Runs to write inside this one, by the name of their directory; the JSON lists the names.

    Raises:
        ResultError: The directory cannot be written (a file in the way, no right, no space).
    """
    check_target(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            fresh = Path(folder) / "run"
            inside = {INSIDE: list(children)} if children else {}
            _write(fresh, {**result, **inside}, tensors, axes)
            for name, contents in (children or {}).items():
                _write(fresh / name, *contents)
            _swap_in(fresh, path, aside=Path(folder) / "old")
    except (OSError, SafetensorError) as error:
        raise ResultError(f"Result could not be written to {str(path)!r}: {error}. Name another with --out.") from error
    return path


def _write(folder: Path, result: Mapping[str, Any], tensors: Mapping[str, Tensor], axes: Axes) -> None:
    described = {
        name: {"axes": list(axes[name]), "shape": list(t.shape), "dtype": str(t.dtype).removeprefix("torch.")}
        for name, t in tensors.items()
    }
    text = json.dumps({**result, "tensors": described}, indent=1, ensure_ascii=False, allow_nan=False)
    folder.mkdir()
    (folder / RESULT).write_text(printable(text) + "\n", encoding="utf-8")
    if tensors:
        save_file({k: t.contiguous() for k, t in tensors.items()}, folder / TENSORS)


def _swap_in(fresh: Path, path: Path, *, aside: Path) -> None:
    if path.exists():
        path.rename(aside)
    try:
        fresh.rename(path)
    except BaseException:  # also an interrupt: the earlier run must not go down with the temporary folder
        if aside.exists():
            aside.rename(path)
        raise


def load_run(path: Path | str, *, schema: str | None = None) -> Run:
    """Read a run directory back.

    Args:
        path: The run directory.
        schema: Name and version that the result must carry, for example `circuitkit.alignment/1`.

    Raises:
        ResultError: There is no run, it is broken, or it is of another schema.
    """
    path = Path(path)
    try:
        result = json.loads((path / RESULT).read_text(encoding="utf-8"))
        tensors = load((path / TENSORS).read_bytes()) if (path / TENSORS).exists() else {}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ResultError(
            f"No run at {str(path)!r}: it holds no {RESULT}. Name a directory written by --out."
        ) from error
    except (OSError, ValueError, SafetensorError) as error:
        raise ResultError(f"Run {str(path)!r} cannot be read ({error}). Make it again.") from error
    found = result.get("schema") if isinstance(result, dict) else None
    if not isinstance(found, str) or not found.startswith("circuitkit."):
        raise ResultError(f"Run {str(path)!r} is not a circuitkit result: its {RESULT} names no schema.")
    if schema is not None and found != schema:
        raise ResultError(f"Run {str(path)!r} holds {found}; wanted {schema}.")
    missing = sorted(set(result.get("tensors", {})) - set(tensors))
    if missing:
        raise ResultError(f"Run {str(path)!r} lacks tensors that it lists: {', '.join(missing)}. Make it again.")
    return Run(path=path, result=result, tensors=tensors)


class ShardStore:
    """Finished pieces of a long computation, kept beside the run until the run is whole.

    Shards live in `FOLDER/KEY/`, where the key digests everything that the numbers depend on, so that a
    changed model, task or option never meets an old shard.

    Args:
        folder: Where shards are kept; made when the first one is written.
        key: Digest of what the shards depend on.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / key

    def load(self, name: str) -> dict[str, Tensor] | None:
        """The shard's tensors, or None if it was never finished."""
        file = self.path / f"{name}.safetensors"
        try:
            return load(file.read_bytes()) if file.exists() else None  # load_file takes UTF-8 paths only
        except (OSError, SafetensorError) as error:
            raise ResultError(f"Shard {str(file)!r} cannot be read ({error}). Delete it and run again.") from error

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep a finished shard; it appears whole or not at all.

        Raises:
            ResultError: It cannot be written.
        """
        file = self.path / f"{name}.safetensors"
        part = file.with_suffix(".part")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            save_file({k: t.contiguous() for k, t in tensors.items()}, part)
            part.replace(file)
        except (OSError, SafetensorError) as error:
            raise ResultError(
                f"Shard could not be written to {str(self.path)!r}: {error}. Name another with --out."
            ) from error
