"""The prompts' own tokens in random order, said twice: what a head reads there is not the task's wording."""

from dataclasses import replace

import torch

from circuitkit.tasks.batch import PromptBatch

SHORTEST = 3
"""With two tokens, what followed a token's earlier occurrence is the token before it."""


def shuffled_text(batch: PromptBatch, *, seed: int) -> PromptBatch | None:
    """Every clean prompt with its text replaced: half of its length in different random tokens, then the same again.

    In a task's prompts the same words follow each other again and again, so that a head that knows them by heart reads
    what an induction head would. Here only a head that looks for matches, or for positions, does (Olsson et al. 2022
    define induction heads on random repeated tokens). Tokens are those of the prompts, lengths and special tokens
    stay, so that the model is asked nothing that it has never seen but their order.

    Args:
        batch: The prompts.
        seed: Seed of the tokens.

    Returns:
        A batch of which only the clean prompts' tokens mean anything; None where the prompts have too few tokens.
    """
    text = batch.clean.words >= 0
    pool = batch.clean.ids[text].unique()
    halves = (text.sum(1) // 2).clamp(max=len(pool) - 1)
    if len(pool) <= SHORTEST or int(halves.min()) < SHORTEST:
        return None
    generator = torch.Generator().manual_seed(seed)
    ids = batch.clean.ids.clone()
    for row, half in enumerate(halves.tolist()):
        drawn = pool[torch.randperm(len(pool), generator=generator)]
        said = drawn[:half].repeat(2)
        places = text[row].nonzero()[:, 0]
        rest = drawn[half:].repeat(1 + len(places))[: len(places) - len(said)]
        ids[row, places] = torch.cat([said, rest])
    return replace(batch, clean=replace(batch.clean, ids=ids), corrupted=None)
