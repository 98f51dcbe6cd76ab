"""The small trained models that ship inside the package."""

import difflib
from pathlib import Path

from circuitkit.core.errors import ModelError

EMBEDDED: tuple[str, ...] = (
    "toy-gpt2",
    "toy-distilgpt2",
    "toy-bert",
    "toy-distilbert",
    "toy-llama",
    "toy-minitron",
)
_WEIGHTS = Path(__file__).parent / "weights"


def embedded_path(name: str) -> Path:
    """The directory of an embedded model.

    Raises:
        ModelError: There is no embedded model of that name, or this installation lacks its files.
    """
    if name not in EMBEDDED:
        raise ModelError(f"No embedded model is called {name!r}; wanted one of {', '.join(EMBEDDED)}.")
    folder = _WEIGHTS / name
    if not (folder / "config.json").is_file():
        raise ModelError(f"Embedded model {name!r} has no files in {folder}; install the package again.")
    return folder


def card(name: str) -> str:
    """The model card (Markdown): what the model was trained on, what it can do, and how it was made.

    Raises:
        ModelError: As `embedded_path`.
    """
    return (embedded_path(name) / "card.md").read_text(encoding="utf-8")


def nearest(name: str) -> str:
    """The end of an error message: the embedded model with a similar name, or all of them."""
    close = difflib.get_close_matches(name.lower(), EMBEDDED, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; embedded models: {', '.join(EMBEDDED)}."
