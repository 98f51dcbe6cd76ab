"""How often a head's top tokens would hold the answers of other prompts."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenHits:
    """Tokens found among a head's top ones, and the same with the tokens dealt out again at random.

    Attributes:
        found: Share of a prompt's tokens that are found: 0 or 1 where there is one, 0 where there is none.
        defined: Prompts that have any.
        null: Mean of `found` over the defined prompts, with the tokens permuted over all prompts.
    """

    found: Float[Tensor, "head prompt"]
    defined: Bool[Tensor, " prompt"]
    null: Float[Tensor, "draw head"]

    @property
    def rate(self) -> Float[Tensor, " head"]:
        """Mean of `found` over the defined prompts; 0 without any."""
        return self.found.sum(1) / self.defined.sum().clamp(min=1)


def count_hits(
    top: Int[Tensor, "head place k"],
    tokens: Int[Tensor, " place"],
    prompt: Int[Tensor, " place"],
    *,
    n_prompts: int,
    n_draws: int,
    seed: int,
) -> TokenHits:
    """Look tokens up among the top ones of their places.

    Args:
        top: Top tokens of every head at every place.
        tokens: The token looked for at each place.
        prompt: The prompt of each place.
        n_prompts: Number of prompts, with those that have no place.
        n_draws: Permutations of the tokens over the places.
        seed: Seed of the permutations.
    """
    per_prompt = torch.bincount(prompt, minlength=n_prompts)
    defined, weight = per_prompt > 0, 1 / per_prompt[prompt]
    kinds, kind = tokens.unique(return_inverse=True)
    generator = torch.Generator().manual_seed(seed)
    dealt = (
        torch.stack([kind[torch.randperm(len(kind), generator=generator)] for _ in range(n_draws)])
        if n_draws
        else (kind.new_zeros(0, len(kind)))
    )
    place = torch.arange(len(kind))
    found, null = torch.zeros(len(top), n_prompts), torch.zeros(n_draws, len(top))
    for row, some in enumerate(top):
        holds = (some[:, :, None] == kinds).any(1)  # [place, kind]
        found[row].index_add_(0, prompt, holds[place, kind] * weight)
        null[:, row] = (holds[place, dealt] * weight).sum(1) / defined.sum().clamp(min=1)
    return TokenHits(found=found, defined=defined, null=null)
