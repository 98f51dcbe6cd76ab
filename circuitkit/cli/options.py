"""Options that several commands share."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from circuitkit.core.errors import OptionError
from circuitkit.core.seeds import MAX_SEED

TaskOption = Annotated[
    str,
    typer.Option(
        "--task", "-t", help="A task name, a .toml task file or a .jsonl file of prompts; several with commas."
    ),
]
OneTaskOption = Annotated[
    str, typer.Option("--task", "-t", help="A task name, a .toml task file or a .jsonl file of prompts.")
]
Prompts = Annotated[int, typer.Option("--n-prompts", "-n", help="Prompts to draw from the task.")]
AblationOption = Annotated[
    Literal["corrupted-mean", "mean", "resample", "zero"],
    typer.Option("--ablation", help="What replaces an ablated activation."),
]
MethodOption = Annotated[
    Literal["exact", "screen"],
    typer.Option("--method", help="Ablate everything (exact), or only what gradients say can matter (screen)."),
]
NormalizeOption = Annotated[Literal["max", "l1", "l2"], typer.Option("--normalize", help="What drops are divided by.")]
SignOption = Annotated[
    Literal["clamp", "abs"],
    typer.Option("--influence-sign", help="Components whose ablation helps count as 0 (clamp) or by size (abs)."),
]
Bootstrap = Annotated[int, typer.Option("--bootstrap", help="Draws for the 95% intervals; 0: none.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of prompts, bootstrap and nulls.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, float16.")]
BatchSize = Annotated[str, typer.Option("--batch-size", help="Rows run at a time: auto or a number.")]
Data = Annotated[Path | None, typer.Option("--data", help="Data file of the task, such as the SimpleQA CSV.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; runs/NAME if not given.")]
Html = Annotated[Path | None, typer.Option("--html", help="Where the HTML report goes; RUN/report.html if not given.")]
Json = Annotated[
    str | None, typer.Option("--json", help="Also write the result as JSON to a file, or to stdout with '-'.")
]

_DIGITS = 9  # of a batch size: no machine holds more rows


def parse_batch_size(text: str) -> int | Literal["auto"]:
    """Read `auto` or a positive number.

    Raises:
        OptionError: It is neither.
    """
    if text == "auto":
        return "auto"
    if text.isdecimal() and len(text) <= _DIGITS and int(text) > 0:
        return int(text)
    raise OptionError(f"--batch-size {text[:40]!r} not understood; give auto or a number from 1 up.")


def one_task(text: str) -> str:
    """The name of a task as it is.

    Raises:
        OptionError: It is a list of several.
    """
    if "," in text:
        raise OptionError(
            f"--task {text!r} names several tasks, and here there can be one task only; run them in turn."
        )
    return text


def parse_gate(least: float | None, *, bootstrap: int) -> float | None:
    """What the score's lower bound must reach.

    Raises:
        OptionError: It is no finite number, or there will be no lower bound.
    """
    if least is None:
        return None
    if not math.isfinite(least):
        raise OptionError(f"--min-alignment {least} can be neither met nor missed; give a number such as 0.6.")
    if not bootstrap:
        raise OptionError("--min-alignment needs the score's interval, and --bootstrap 0 turns it off; drop one.")
    return least


def split_tasks(text: str) -> list[str]:
    """The names in a comma-separated list, in order.

    Raises:
        OptionError: A name is empty or given twice.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise OptionError(f"--task {text!r} holds an empty name; give names with single commas between them.")
    if len(set(names)) < len(names):
        raise OptionError(f"--task {text!r} names a task twice; give each once.")
    return names
