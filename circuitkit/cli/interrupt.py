"""Ctrl-C and SIGTERM: stop, and say what is kept."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer

from circuitkit.cli.console import notice
from circuitkit.core.run_path import RESULT, partial_folder


class Stopped(typer.Abort):
    """Interrupted, and the user has been told what is kept."""


@contextmanager
def kept(out: Path) -> Generator[None]:
    """Say on an interrupt what the block has left on disk.

    Args:
        out: The run directory that the block works towards.

    Raises:
        Stopped: In place of KeyboardInterrupt.
    """
    before = _written(out)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if _written(out) not in (None, before):
            notice(f"Interrupted; the run is saved whole in {out}, and circuitkit report draws it.")
        elif partial_folder(out).exists():
            notice(f"Interrupted. Finished shards are kept in {partial_folder(out)}; the same command goes on there.")
        else:
            notice("Interrupted before anything was measured; nothing was written.")
        raise Stopped from interrupt


def _written(out: Path) -> tuple[int, int] | None:
    """Something that changes when a run is put in this place."""
    file = out / RESULT
    return (file.stat().st_ino, file.stat().st_mtime_ns) if file.exists() else None


@contextmanager
def terminated_like_interrupted() -> Generator[None]:
    """Treat SIGTERM like Ctrl-C while the block runs; signals can be handled in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if earlier is None else earlier)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
