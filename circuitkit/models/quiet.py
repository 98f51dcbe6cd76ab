"""Keep transformers' own talk off the user's terminal while a model loads."""

import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from logging import CRITICAL

from transformers.utils import logging


@contextmanager
def quiet() -> Generator[None]:
    """Hold back log lines, progress bars and warnings; the caller checks for what matters in them."""
    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    try:
        # The reader of .gguf files draws a bar of its own, which no setting of transformers turns off.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
