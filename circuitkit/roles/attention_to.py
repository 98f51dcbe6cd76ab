"""How much attention heads pay to what a role reads, beside what they would pay by chance."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.rows import shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles.attention_null import chance_weights
from circuitkit.roles.places import Places, Side, readable, side_of
from circuitkit.tasks.batch import PromptBatch

PATTERN_BYTES = 64 * 2**20
"""What the patterns that are held at a time may take."""
MOST_ROWS = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoleAttention:
    """Attention of every head to the places of one role; 0 in prompts without them.

    Attributes:
        mass: Mean over a prompt's queries of the attention on their keys.
        chance: What it would be on average with each query's keys drawn at random from what it could read.
    """

    mass: Float[Tensor, "head prompt"]
    chance: Float[Tensor, "head prompt"]

    @property
    def above_chance(self) -> Float[Tensor, "head prompt"]:
        """How much of what chance leaves over is reached: 0 is chance, 1 is all attention (as Cohen's kappa)."""
        return (self.mass - self.chance) / (1 - self.chance).clamp(min=1e-6)


def role_attention(
    model: HookedModel,
    batch: PromptBatch,
    places: Mapping[str, Places],
    *,
    side: Side = "clean",
    progress: Progress = silent,
) -> dict[str, RoleAttention]:
    """Measure the attention to the places of several roles in one pass over the prompts.

    Args:
        model: The model.
        batch: The prompts.
        places: Role to places, all of the same side.
        side: The prompts that are read.
        progress: Called as prompts are done.

    Returns:
        Role to the attention of all heads, layer by layer.

    Raises:
        OptionError: The side is missing.
    """
    block, n_heads = side_of(batch, side), model.info.n_layers * model.info.n_heads
    found = {name: torch.zeros(2, n_heads, len(batch.pairs)) for name in places}
    could = readable(model, block)
    at_once = max(1, min(MOST_ROWS, PATTERN_BYTES // (4 * n_heads * block.ids.shape[1] ** 2)))
    done = 0
    for rows in shards(batch, at_once) if places else []:
        taken = take(block, rows, model)
        length = taken.ids.shape[1]
        weights = torch.stack([_weights(one.keys[rows, :length, :length], could[rows, :length, :length])
                               for one in places.values()])  # fmt: skip
        patterns = model.capture(taken.ids, taken.mask, {"pattern"})["pattern"]
        for layer, pattern in patterns.items():
            read = einsum(
                weights.to(pattern.device),
                pattern.float(),
                "role kind row query key, row head query key -> role kind head row",
            ).cpu()
            heads = slice(layer * model.info.n_heads, (layer + 1) * model.info.n_heads)
            for name, values in zip(places, read, strict=True):
                found[name][:, heads, rows] = values
        done += len(rows)
        progress(f"attention, {side} prompts", done, len(batch.pairs))
    return {name: RoleAttention(mass=values[0], chance=values[1]) for name, values in found.items()}


def attention_scores(
    model: HookedModel, batch: PromptBatch, places: Places, *, side: Side = "clean"
) -> Float[Tensor, "head prompt"]:
    """Mean over a prompt's queries of the attention mass on their keys, of every head; 0 where there are none.

    Raises:
        OptionError: The side is missing.
    """
    return role_attention(model, batch, {"role": places}, side=side)["role"].mass


def _weights(keys: Tensor, could: Tensor) -> Float[Tensor, "2 row query key"]:
    """What each attention weight counts towards the mass of its prompt, and towards its chance."""
    n_queries = keys.any(2).sum(1).clamp(min=1)[:, None, None]
    return torch.stack([keys.float(), chance_weights(keys, could)]) / n_queries
