"""Peak memory of a whole run at two numbers of prompts: it should be the same.

    python benchmarks/memory.py align toy-gpt2 toy-distilgpt2 --task ioi --few 2000 --many 20000
    python benchmarks/memory.py influence toy-bert

Every run is a process of its own; its peak is the resident memory that the system counted. What may grow is what the
prompts are: their text, their tokens and the result matrix [component, prompt], of which the size is printed beside it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

KIB = 1 if sys.platform == "darwin" else 1024  # macOS counts the peak in bytes, Linux in KiB
RUN = "from circuitkit.cli.main import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run: prompts asked for, wall time in seconds, peak and file sizes in bytes."""

    n_prompts: int
    seconds: float
    peak: int
    sizes: dict[str, int]


def measure(command: list[str], n_prompts: int, threads: int) -> Measured:
    """Run circuitkit in a process of its own and read its peak when it ends."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        words = [sys.executable, "-c", RUN, *command, "--n-prompts", str(n_prompts), "--out", str(out)]
        start = time.perf_counter()
        process = subprocess.Popen(
            words,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        assert process.stderr is not None
        said = process.stderr.read().decode()  # to its end: a full pipe would hold the run up
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"circuitkit {' '.join(command)} failed with {process.returncode}:\n{said}")
        sizes = {file.name: file.stat().st_size for file in sorted(out.iterdir()) if file.is_file()}
        return Measured(
            n_prompts=n_prompts, seconds=time.perf_counter() - start, peak=usage.ru_maxrss * KIB, sizes=sizes
        )


def show(few: Measured, many: Measured) -> None:
    """Print both runs, and how much memory grows with prompts."""
    names = sorted({*few.sizes, *many.sizes})
    print(f"{'prompts':>8} {'seconds':>8} {'peak MiB':>9}  " + "  ".join(f"{name} KiB" for name in names))
    for run in (few, many):
        sizes = "  ".join(f"{run.sizes.get(name, 0) / 1024:>{len(name) + 4}.0f}" for name in names)
        print(f"{run.n_prompts:>8} {run.seconds:>8.1f} {run.peak / 2**20:>9.1f}  {sizes}")
    more = many.n_prompts - few.n_prompts
    print(
        f"ratio of the peaks {many.peak / few.peak:.3f}; {(many.peak - few.peak) / 1024 / more:.2f} KiB a prompt more"
    )


def main() -> None:
    """Parse, run twice, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("align", "influence"))
    parser.add_argument("models", nargs="+", help="a teacher and a student for align, a model for influence")
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--few", type=int, default=200, help="prompts of the first run")
    parser.add_argument("--many", type=int, default=2000, help="prompts of the second")
    parser.add_argument("--threads", type=int, default=1)
    args, options = parser.parse_known_args()  # what is not known here is for circuitkit
    if not 0 < args.few < args.many:
        parser.error("--few must be positive and smaller than --many")
    command = [args.command, *args.models, "--task", args.task, *options]
    few, many = (measure(command, n, args.threads) for n in (args.few, args.many))
    show(few, many)


if __name__ == "__main__":
    main()
