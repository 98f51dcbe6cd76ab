"""One question to a probe: what is read where, the truth, and which prompts are held out together."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Int
from torch import Tensor

from circuitkit.probes.readings import Reading
from circuitkit.probes.split import Folds, Split
from circuitkit.probes.words import Side

Metric = Literal["accuracy", "AUROC"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """One target on the prompts of one model: what is read where, the truth, and which samples are held out together.

    Attributes:
        target: Name of the target.
        about: What it asks, in words.
        reading: Prompts and positions that are read.
        rows: The rows of the reading that are used: one a sample.
        prompts: The prompt of every sample; two versions of one prompt are drawn together by the bootstrap.
        classes: Class of every sample, from 0. Several parts must all be right.
        names: Names of the classes of each part.
        metric: `accuracy`, or `AUROC` for a target with two classes.
        chance: Metric of a guess by the most frequent classes.
        folds: The split.
        notices: Plain facts that a reader must see.
    """

    target: str
    about: str
    reading: Reading
    rows: Int[Tensor, " sample"]
    prompts: Int[Tensor, " sample"]
    classes: Int[Tensor, "part sample"]
    names: tuple[tuple[str, ...], ...]
    metric: Metric
    chance: float
    folds: Folds
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How questions are made.

    Attributes:
        at: Label at which is read; None for the target's own place.
        side: Which prompts are read; `auto` takes the corrupted ones where the elements of a sequence are random.
        split: What held-out prompts must not share with fitted ones.
        n_folds: Number of folds.
        seed: Seed of everything that is drawn.
    """

    at: str | None
    side: Side | Literal["auto"]
    split: Split
    n_folds: int
    seed: int
