"""`python -m circuitkit.experiments.embedded [OUT]`: rebuild the embedded models from seeds."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer

import circuitkit.models
from circuitkit.experiments.embedded.architectures import PAIRS
from circuitkit.experiments.embedded.build import build_pair
from circuitkit.experiments.embedded.recipe import Recipe

WORKERS = 2
_SHIPPED = Path(circuitkit.models.__file__).parent / "weights"


def main(
    out: Annotated[Path, typer.Argument(help="Where to write the six directories.")] = _SHIPPED,
    only: Annotated[str | None, typer.Option(help="Only one pair: gpt2, bert or llama.")] = None,
    students_only: Annotated[bool, typer.Option(help="Keep the teachers in OUT; distil their students anew.")] = False,
) -> None:
    """Train the three teachers, distil the three students, measure all six and write them."""
    chosen = [pair for pair in PAIRS if only in {None, pair.kind}]
    with ProcessPoolExecutor(max_workers=WORKERS, mp_context=get_context("spawn")) as pool:
        begun = time.monotonic()
        running = {pool.submit(build_pair, pair, Recipe(), out, students_only): pair for pair in chosen}
        for done in as_completed(running):
            pair = running[done]
            for name, table in done.result().items():
                sys.stdout.write(f"{name}\n{table}\n\n")
            sys.stderr.write(f"{pair.teacher} and {pair.student} were done after {time.monotonic() - begun:.0f} s.\n")


if __name__ == "__main__":
    typer.run(main)
