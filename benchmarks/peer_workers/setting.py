"""The model and the prompts that every worker measures; read with the packages of any peer's environment."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

N_LAYERS, N_HEADS, D_MODEL, VOCAB, LENGTH = 6, 8, 256, 5000, 24
ROWS = 32
Place = tuple[int, int | None]
"""Layer and head; head None for an MLP."""

HEADS: list[Place] = [(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS)]
COMPONENTS: list[Place] = [*HEADS, *((layer, None) for layer in range(N_LAYERS))]
"""The order of all results."""


@dataclass(frozen=True)
class Setting:
    """Prompts of one length that begin with token 0, and two answers each.

    Attributes:
        folder: Hugging Face directory of the model and its tokenizer.
        clean: Token ids [prompt, pos].
        corrupted: Their partners [prompt, pos].
        answers: Correct and incorrect answer [prompt, 2].
    """

    folder: Path
    clean: Tensor
    corrupted: Tensor
    answers: Tensor

    def first(self, n: int) -> "Setting":
        """The first prompts only, to warm up on."""
        return replace(self, clean=self.clean[:n], corrupted=self.corrupted[:n], answers=self.answers[:n])

    def batches(self) -> Iterator["Setting"]:
        """The prompts, ROWS at a time."""
        for rows in torch.arange(len(self.clean)).split(ROWS):
            yield replace(self, clean=self.clean[rows], corrupted=self.corrupted[rows], answers=self.answers[rows])

    def logit_diff(self, last: Tensor) -> Tensor:
        """Correct minus incorrect [prompt] from the logits of the last position [prompt, vocab]."""
        picked = last.gather(1, self.answers)
        return picked[:, 0] - picked[:, 1]


def load_setting(folder: Path) -> Setting:
    """Read what peers.py wrote."""
    return Setting(folder=folder, **load_file(folder / "prompts.safetensors"))
