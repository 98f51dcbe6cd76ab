"""Prompts with the attention of the heads that were given a role, for a reader to hold the claim against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.interventions.rows import take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles.places import Places
from circuitkit.tasks.batch import PromptBatch

PROMPTS, HEADS = 2, 24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoleExample:
    """One clean prompt with the attention of heads that have a role.

    Attributes:
        prompt: The prompt.
        corrupted: Its corrupted partner, if there is one.
        correct: The correct answer.
        incorrect: The incorrect answer.
        tokens: The prompt as tokens.
        heads: Names of the heads.
        roles: Their roles.
        reads: Role to [query, key] positions that it is about in this prompt.
        patterns: The heads' attention.
    """

    prompt: str
    corrupted: str | None
    correct: str
    incorrect: str
    tokens: tuple[str, ...]
    heads: tuple[str, ...]
    roles: tuple[tuple[str, ...], ...]
    reads: Mapping[str, tuple[tuple[int, int], ...]]
    patterns: Float[Tensor, "head query key"]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, without the patterns."""
        return {
            "prompt": self.prompt,
            "corrupted": self.corrupted,
            "correct": self.correct,
            "incorrect": self.incorrect,
            "tokens": list(self.tokens),
            "heads": [{"head": head, "roles": list(roles)} for head, roles in zip(self.heads, self.roles, strict=True)],
            "reads": {role: [list(pair) for pair in pairs] for role, pairs in self.reads.items()},
        }


def pick_examples(
    model: HookedModel,
    batch: PromptBatch,
    roles: Mapping[Component, Sequence[str]],
    places: Mapping[str, Places],
) -> tuple[RoleExample, ...]:
    """Two prompts, of different templates if there are any, and up to 24 heads.

    Args:
        model: The model.
        batch: The prompts.
        roles: The heads to show, the most important first, and their roles.
        places: Where the roles read in the clean prompts.
    """
    shown = dict(list(roles.items())[:HEADS])
    return tuple(_example(model, batch, row, shown, places) for row in _rows(batch)) if shown else ()


def _rows(batch: PromptBatch) -> list[int]:
    first = batch.pairs[0].template
    other = next((i for i, pair in enumerate(batch.pairs) if pair.template != first), 1)
    return [0, other][: min(PROMPTS, len(batch.pairs))]


def _example(
    model: HookedModel,
    batch: PromptBatch,
    row: int,
    roles: Mapping[Component, Sequence[str]],
    places: Mapping[str, Places],
) -> RoleExample:
    taken = take(batch.clean, torch.tensor([row]), model)
    found = model.capture(taken.ids, taken.mask, ["pattern"], sorted({head.layer for head in roles}))["pattern"]
    wanted = {name for names in roles.values() for name in names}
    pair = batch.pairs[row]
    return RoleExample(
        prompt=pair.clean,
        corrupted=pair.corrupted,
        correct=pair.correct,
        incorrect=pair.incorrect,
        tokens=tuple(str(model.tokenizer.decode([token])) for token in taken.ids[0].tolist()),
        heads=tuple(str(head) for head in roles),
        roles=tuple(tuple(names) for names in roles.values()),
        reads={
            name: tuple((query, key) for query, key in one.keys[row].nonzero().tolist())
            for name, one in places.items()
            if name in wanted
        },
        patterns=torch.stack([found[head.layer][0, head.head].float().cpu() for head in roles]),
    )
