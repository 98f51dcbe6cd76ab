"""Finished studies on disk, so that an interrupted reproduction goes on where it stopped."""

from pathlib import Path

from circuitkit.core.digest import digest
from circuitkit.core.errors import ModelError, ResultError
from circuitkit.core.run_path import RESULT
from circuitkit.experiments.study import Study
from circuitkit.models.sources import locate


class FinishedStudies:
    """Studies in a folder, each under a digest of everything that it depends on.

    Args:
        folder: Where they are; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, key: str) -> Study | None:
        """The study of a key; None where there is none, or where it is broken and has to be run again."""
        if self._folder is None or not (self._folder / key / RESULT).exists():
            return None
        try:
            return Study.load(self._folder / key)
        except ResultError:
            return None

    def save(self, key: str, study: Study) -> None:
        """Keep a study.

        Raises:
            ResultError: It cannot be written.
        """
        if self._folder is not None:
            study.save(self._folder / key)


def model_stamp(name: str) -> str:
    """Digest of the files of a model: their names, sizes and times, without reading them.

    Raises:
        ModelError: The model is not at hand.
    """
    source = locate(name, offline=True)
    try:
        files = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(source.folder.iterdir())]
    except OSError as error:
        raise ModelError(f"Model {name!r} cannot be read: {error.strerror}.") from error
    return digest([name, source.gguf, source.revision, files])
