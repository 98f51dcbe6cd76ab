"""Where activations are patched: at the task's labels, or at every token."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from jaxtyping import Bool
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.position_groups import position_groups

Positions = Literal["labels", "tokens"]
OTHERS, ALL = "other tokens", "all tokens"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchPlaces:
    """Groups of token positions that are patched together.

    Attributes:
        names: What each group is called; the last one is all tokens.
        masks: The positions of each group in each prompt.
    """

    names: tuple[str, ...]
    masks: Bool[Tensor, "group prompt pos"]

    @property
    def defined(self) -> Bool[Tensor, "group prompt"]:
        """The prompts that have any such position."""
        return self.masks.any(-1)


def patch_places(model: HookedModel, batch: PromptBatch, positions: Positions | str) -> PatchPlaces:
    """Group the positions of prompts whose corrupted partners have their tokens at the same positions.

    `labels`: the tokens of every label (of END those of the last word up to the answer), in the order of their mean
    positions, then the tokens of no label. `tokens`: every position by itself.

    Args:
        model: The model that reads them.
        batch: The prompts.
        positions: `labels` or `tokens`.

    Raises:
        OptionError: There is no such choice, the prompts have no corrupted partners or no common positions, or they
            have no labels.
    """
    if positions not in get_args(Positions):
        raise OptionError(f"Positions {positions!r} unknown; choose one of {', '.join(get_args(Positions))}.")
    if batch.corrupted is None:
        raise OptionError(
            f"Task {batch.task.name!r} has no corrupted prompts, between which and the clean ones activations are "
            "patched; give them."
        )
    if not batch.positional:
        raise OptionError(
            f"The prompts of task {batch.task.name!r} and their corrupted partners have no positions in common, at "
            "which activations could be patched; use a task whose partners are of equal length."
        )
    named = _labels(batch) if cast(Positions, positions) == "labels" else _tokens(model, batch)
    return PatchPlaces(names=(*named, ALL), masks=torch.stack([*named.values(), batch.clean.mask]))


def _labels(batch: PromptBatch) -> dict[str, Bool[Tensor, "prompt pos"]]:
    if not batch.label_positions:
        raise OptionError(f"The prompts of task {batch.task.name!r} share no labels; use --positions tokens.")
    groups = position_groups(batch)
    *labels, others = zip(groups.names, groups.masks, strict=True)
    return {**dict(labels), OTHERS: others[1]} if bool(others[1].any()) else dict(labels)


def _tokens(model: HookedModel, batch: PromptBatch) -> dict[str, Bool[Tensor, "prompt pos"]]:
    """Every position; its name holds the token where all prompts have the same one there."""
    mask, ids = batch.clean.mask, batch.clean.ids
    found: dict[str, Tensor] = {}
    for pos in range(mask.shape[1]):
        here = torch.zeros_like(mask)
        here[:, pos] = mask[:, pos]
        if bool(here.any()):
            seen = ids[mask[:, pos], pos].unique()
            text = cast(str, model.tokenizer.decode(seen)).strip() if len(seen) == 1 else ""
            found[f"{pos} {text}".strip()] = here
    return found
