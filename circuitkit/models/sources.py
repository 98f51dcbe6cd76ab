"""From what the user typed to a folder on disk: embedded name, directory, `.gguf` file or hub id."""

import re
from dataclasses import dataclass
from pathlib import Path

from circuitkit.core.errors import ModelError
from circuitkit.models.embedded import EMBEDDED, embedded_path, nearest

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A checkpoint on disk.

    Attributes:
        name: What the user typed.
        folder: Directory that holds the files.
        gguf: Name of the `.gguf` file in it that is meant; None for a Hugging Face directory.
        revision: Hub commit; None when it did not come from the hub.
        embedded: Whether it ships with this package.
    """

    name: str
    folder: Path
    gguf: str | None = None
    revision: str | None = None
    embedded: bool = False


def looks_like_hub_id(name: str) -> bool:
    """Whether a name that is neither embedded nor on disk would be looked for on the hub."""
    return _HUB_ID.fullmatch(name) is not None and not Path(name).exists()


def locate(name: str | Path, *, offline: bool = False) -> Source:
    """Find a checkpoint.

    An embedded name comes first (write `./toy-gpt2` for a directory called so), then paths, then the hub and
    its cache.

    Args:
        name: What the user typed.
        offline: Look into the hub's cache only.

    Raises:
        ModelError: Nothing is found under this name.
    """
    typed = str(name)
    if typed in EMBEDDED:
        return Source(name=typed, folder=embedded_path(typed), embedded=True)
    try:
        path = Path(typed).expanduser()
        is_dir, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"Model {typed[:80]!r} cannot be looked up: {why}.") from error
    if is_dir and typed.strip():
        return Source(name=typed, folder=path.resolve())
    if is_file:
        return _file(typed, path.resolve())
    if path.suffix == ".gguf" or isinstance(name, Path) or not _HUB_ID.fullmatch(typed):
        raise ModelError(f"Model {typed!r} not found: no such directory or file{nearest(typed)}")
    from circuitkit.models.hub import download

    folder, revision = download(typed, offline=offline)
    return Source(name=typed, folder=folder, revision=revision)


def _file(typed: str, path: Path) -> Source:
    if path.suffix != ".gguf":
        raise ModelError(
            f"Model {typed!r} is a file that does not end in .gguf; wanted the directory that holds "
            "config.json and the weights, or a .gguf file."
        )
    return Source(name=typed, folder=path.parent, gguf=path.name)
