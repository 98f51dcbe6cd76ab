"""Random prompts whose answers a random model tells apart from those of the corrupted prompts."""

from dataclasses import replace

import torch
from brute_force import forward, token_batch

from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


def answerable_batch(model: HookedModel, lengths: list[list[int]]) -> PromptBatch:
    """The correct answer gains most by the prompt being clean, the incorrect one loses most."""
    batch = token_batch(model.info.vocab_size, lengths)
    assert batch.corrupted is not None
    row = torch.arange(len(batch.pairs))
    clean, corrupted = (
        forward(model.raw, block.ids, block.mask)[row, block.answer_pos] for block in (batch.clean, batch.corrupted)
    )
    return replace(batch, correct_ids=(clean - corrupted).argmax(1), incorrect_ids=(clean - corrupted).argmin(1))
