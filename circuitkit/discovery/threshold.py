"""From influences to a circuit of nodes: the components that matter enough."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.bootstrap import prompt_means
from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.discovery.influence_result import Influence


def influential_nodes(
    found: Influence,
    *,
    threshold: float | None = None,
    drop_share: float | None = None,
    top: int | None = None,
) -> tuple[Component, ...]:
    """The components of a circuit, chosen by one of three rules.

    Args:
        found: Influences.
        threshold: Keep components whose influence is at least this, above 0 and at most 1.
        drop_share: Keep components whose ablation costs at least this share of the model's logit difference.
        top: Keep so many, the most influential first. Components of equal influence go by their drops, then by
            their order in the model.

    Returns:
        Them, block by block, heads before the MLP; none where none matters enough.

    Raises:
        OptionError: Not exactly one rule is given, it is out of range, or the model does not do the task and a share
            of its logit difference means nothing.
    """
    rules = {"threshold": threshold, "drop_share": drop_share, "top": top}
    given = [name for name, value in rules.items() if value is not None]
    if len(given) != 1:
        raise OptionError(
            f"{' and '.join(given) if given else 'No rule'} given to choose a circuit by; give exactly one of "
            "threshold, drop_share and top."
        )
    if threshold is not None:
        kept = found.values >= _share(threshold, "An influence threshold")
    elif drop_share is not None:
        kept = _by_drop(found, _share(drop_share, "A drop share"))
    else:
        assert top is not None
        kept = _top(found, top)
    chosen = [component for component, inside in zip(found.components, kept.tolist(), strict=True) if inside]
    return tuple(sorted(chosen, key=lambda c: (c.layer, c.head is None, c.head or 0)))


def _by_drop(found: Influence, share: float) -> Bool[Tensor, " component"]:
    baseline = found.baseline
    if not baseline.clear:
        raise OptionError(
            f"A drop share was given, but the logit difference of {found.model.name} ({baseline.mean:.2f}) is not "
            "clearly above 0, and a share of it means nothing; choose by threshold or top."
        )
    return prompt_means(found.drops) >= share * baseline.mean


def _top(found: Influence, top: int) -> Bool[Tensor, " component"]:
    n = len(found.components)
    if not 1 <= top <= n:
        raise OptionError(f"A circuit of {top} components was asked for; give 1 to {n}, which is all of them.")
    order = _size(found).argsort(descending=True, stable=True)
    return torch.zeros(n, dtype=torch.bool).scatter(0, order[:top], value=True)


def _size(found: Influence) -> Float[Tensor, " component"]:
    """Orders components as their influences do, those too whose influence is 0 because ablation helps."""
    drops = prompt_means(found.drops)
    return drops.abs() if found.sign == "abs" else drops


def _share(value: float, what: str) -> float:
    if not 0 < value <= 1:
        raise OptionError(f"{what} of {value:g} is out of range; give a number above 0 and at most 1.")
    return value
