"""Every option of a probing, checked before anything is built."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from circuitkit.core.errors import OptionError
from circuitkit.core.seeds import check_seed
from circuitkit.probes.features import Stream, parse_stream
from circuitkit.probes.question import Asking
from circuitkit.probes.split import parse_split

N_PROMPTS, N_FOLDS, N_CONTROLS, STRENGTH = 768, 4, 2, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """How a model is probed.

    Attributes:
        targets: What is asked; all that the task's labels give where none are named.
        of: Residual stream before or after each block, or the values that each head mixes (`z`).
        at: Label at which is read; the answer position where none is named.
        side: Which prompts are read; `auto` takes the corrupted ones, in which elements are random, for elements of
            a sequence: in the clean ones each element settles all others.
        split: What held-out prompts must not share with fitted ones.
        n_prompts: Prompts to draw from the task.
        folds: Parts of the prompts that are held out in turn.
        controls: How often the control shuffles the labels.
        random_model: Also probe the model's configuration with random weights.
        strength: Inverse strength C of the L2 penalty.
        bootstrap: Draws for the intervals of AUROCs and selectivities; 0 for none.
        seed: Seed of prompts, balance, folds, shuffles and bootstrap.
        batch_size: Prompts run at a time.
    """

    targets: Sequence[str] | None = None
    of: Stream | str = "resid_post"
    at: str | None = None
    side: str = "auto"
    split: str = "auto"
    n_prompts: int = N_PROMPTS
    folds: int = N_FOLDS
    controls: int = N_CONTROLS
    random_model: bool = False
    strength: float = STRENGTH
    bootstrap: int = 1000
    seed: int = 0
    batch_size: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        """Check what does not depend on the task.

        Raises:
            OptionError: An option is unknown or out of range.
        """
        parse_stream(self.of)
        parse_split(self.split)
        _parse_side(self.side)
        check_seed(self.seed)
        if not 2 <= self.folds <= 20:
            raise OptionError(f"{self.folds} folds were asked for; give a whole number from 2 to 20.")
        if not 1 <= self.controls <= 100:
            raise OptionError(
                f"{self.controls} shuffles of the control were asked for; give a whole number from 1 to 100."
            )
        if not 0 < self.strength < float("inf"):
            raise OptionError(f"Strength {self.strength} cannot be used; give a number above 0, such as {STRENGTH}.")
        if self.bootstrap < 0:
            raise OptionError(
                f"{self.bootstrap} bootstrap draws were asked for; give 0 for no intervals, or a positive number."
            )
        if len(set(self.targets or ())) < len(self.targets or ()):
            raise OptionError(f"Targets {', '.join(self.targets or ())}: one is named twice; give each once.")

    @property
    def stream(self) -> Stream:
        """Which activations are probed."""
        return parse_stream(self.of)

    @property
    def asking(self) -> Asking:
        """How questions are made."""
        return Asking(
            at=self.at,
            side=_parse_side(self.side),
            split=parse_split(self.split),
            n_folds=self.folds,
            seed=self.seed,
        )

    def record(self, targets: Sequence[str]) -> dict[str, Any]:
        """JSON-able form, with the targets that were taken."""
        return {**asdict(self), "targets": list(targets)}


def _parse_side(side: str) -> Literal["auto", "clean", "corrupted"]:
    if side not in ("auto", "clean", "corrupted"):
        raise OptionError(f"Side {side!r} unknown; choose one of auto, clean, corrupted.")
    return side
