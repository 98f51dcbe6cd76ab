"""Groups of prompts in which a position means the same thing."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from circuitkit.tasks.prompt import UNNAMED

SMALL_GROUP = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grouping:
    """How prompts are grouped.

    Attributes:
        group: Group of every prompt, counted from 0 in order of first appearance.
        positional: False where prompts cannot be grouped: all are in group 0 and positions mean nothing.
        notices: What a user must know about it.
    """

    group: Int[Tensor, " prompt"]
    positional: bool
    notices: tuple[str, ...]


def number_groups(keys: Sequence[Hashable]) -> Int[Tensor, " prompt"]:
    """Number keys from 0 in order of first appearance."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return torch.tensor([numbers[key] for key in keys], dtype=torch.long)


def group_prompts(
    templates: Sequence[str],
    lengths: Sequence[int],
    corrupted_lengths: Sequence[int] | None,
    *,
    positional: bool,
) -> Grouping:
    """Group prompts by template and token length.

    Args:
        templates: Template of every prompt.
        lengths: Tokens of every clean prompt.
        corrupted_lengths: Tokens of its corrupted partner; None where no partner is used.
        positional: Whether the task says that its positions can be compared at all.
    """
    n = len(templates)
    if not positional:
        return _pooled(n, "this task's prompts have no common structure")
    if corrupted_lengths is not None:
        unequal = sum(a != b for a, b in zip(lengths, corrupted_lengths, strict=True))
        if unequal:
            return _pooled(n, f"{unequal} of {n} corrupted prompts differ from their clean ones in length")
    keys = list(zip(templates, lengths, strict=True))
    return Grouping(group=number_groups(keys), positional=True, notices=_about_groups(keys))


def _about_groups(keys: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """What must be said of groups of template and length."""
    sizes = Counter(keys)
    found: list[str] = []
    if len({length for template, length in sizes if template == UNNAMED}) > 1:
        found.append("Rows name no template; prompts of equal token length are taken as one template.")
    smallest = min(sizes.values())
    if smallest < SMALL_GROUP:
        found.append(
            f"The smallest of {len(sizes)} groups of one template and token length has "
            f"{smallest} prompt{'s' if smallest > 1 else ''}; means over it are rough."
        )
    if alone := sum(size == 1 for size in sizes.values()):
        found.append(
            f"{alone} of {len(keys)} prompts {'stands' if alone == 1 else 'stand'} alone in a group: "
            "what is called the mean there is one prompt's own value."
        )
    return tuple(found)


def _pooled(n: int, why: str) -> Grouping:
    return Grouping(
        group=torch.zeros(n, dtype=torch.long),
        positional=False,
        notices=(f"Means are taken over all positions of all prompts, because {why}.",),
    )
