"""Prompts of random tokens with labels, for measures that look at places."""

from dataclasses import replace

import torch
from brute_force import token_batch


def labelled(model, lengths=((5, 5), (8, 7)), *, seed=0, shared=1):
    """Ragged prompts that begin alike, with a label at the second token, one in the middle, and END."""
    inside = not model.is_causal
    batch = token_batch(model.info.vocab_size, [list(row) for row in lengths], seed=seed, answer_inside=inside)
    for block in (batch.clean, batch.corrupted):
        block.ids[:, :shared] = torch.arange(5, 5 + shared)
    middle = batch.clean.mask.sum(1) // 2 + (1 if inside else 0)
    labels = {"B": middle, "A": torch.ones_like(middle), "END": batch.clean.answer_pos}
    return replace(batch, label_positions=labels)
