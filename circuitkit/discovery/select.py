"""From scores of edges to a set of edges."""

import heapq
from collections import defaultdict
from math import isnan
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.edge import EMBED, LOGITS, EdgeSpace
from circuitkit.core.errors import OptionError

By = Literal["size", "value"]
"""What counts of a score: its size, so that edges that hurt are kept too, or its signed value."""


def top_n(
    space: EdgeSpace, scores: Float[Tensor, "receiver sender"], n: int, *, by: By | str = "size"
) -> Bool[Tensor, "receiver sender"]:
    """The n edges that score highest; of equals, those that stand first.

    Args:
        space: The model's edges.
        scores: A score of each; what stands where the model has no edge does not count.
        n: How many.
        by: What counts of a score.

    Raises:
        OptionError: There are fewer edges, n is not positive, a score is not a number, or `by` is unknown.
    """
    ranks = _ranked(space, scores, by)
    _check_n(space, n)
    chosen = ranks.flatten().sort(descending=True, stable=True).indices[:n]
    return torch.zeros_like(space.possible).flatten().scatter(0, chosen, value=True).view_as(space.possible)


def threshold(
    space: EdgeSpace, scores: Float[Tensor, "receiver sender"], tau: float, *, by: By | str = "size"
) -> Bool[Tensor, "receiver sender"]:
    """The edges that score tau or more.

    Args:
        space: The model's edges.
        scores: A score of each.
        tau: The threshold, in the scores' unit.
        by: What counts of a score.

    Raises:
        OptionError: The threshold or a score is not a number, or it would keep every edge, or `by` is unknown.
    """
    ranks = _ranked(space, scores, by)
    if isnan(tau) or (by == "size" and tau <= 0):
        raise OptionError(f"Threshold {tau} of sizes is no number above 0; give one, in the unit of the scores.")
    return (ranks >= tau) & space.possible


def connected_top_n(
    space: EdgeSpace, scores: Float[Tensor, "receiver sender"], n: int, *, by: By | str = "size"
) -> Bool[Tensor, "receiver sender"]:
    """Up to n edges that all lead to the logits, chosen greedily.

    From the logits on, the edge that scores highest is added again and again, of those whose receiver belongs to the
    logits or to a component that has an edge in the set already (the greedy search of Hanna, Pezzelle & Belinkov
    2024, arXiv 2403.17806). Of equals, those that stand first.

    Args:
        space: The model's edges.
        scores: A score of each.
        n: How many; components without an edge from before them may be among them, see `without_dead_ends`.
        by: What counts of a score.

    Raises:
        OptionError: As `top_n`.
    """
    ranks = _ranked(space, scores, by)
    _check_n(space, n)
    rows = defaultdict[Component | None, list[int]](list)
    for row, receiver in enumerate(space.receivers):
        rows[receiver.component].append(row)
    kept = torch.zeros_like(space.possible)
    open_edges: list[tuple[float, int, int]] = []
    reached = {LOGITS.component}

    def open_up(component: Component | None) -> None:
        for row in rows[component]:
            upstream = ranks[row, : space.n_upstream(space.receivers[row])].tolist()
            for column, rank in enumerate(upstream):
                heapq.heappush(open_edges, (-rank, row, column))

    open_up(LOGITS.component)
    for _ in range(n):
        _, row, column = heapq.heappop(open_edges)
        kept[row, column] = True
        sender = space.senders[column].component  # None: the embedding, which has no edge in
        if sender is not None and sender not in reached:
            reached.add(sender)
            open_up(sender)
    return kept


def without_dead_ends(space: EdgeSpace, kept: Bool[Tensor, "receiver sender"]) -> Bool[Tensor, "receiver sender"]:
    """The edges of a set that lie on a path from the embedding to the logits.

    A path goes through a head by any of its inputs.

    Args:
        space: The model's edges.
        kept: The set.
    """
    edges = space.edges(kept)  # receivers, and so components, in the order in which they are computed
    fed: set[Component | None] = {EMBED.component}
    used: set[Component | None] = {LOGITS.component}
    for edge in edges:
        if edge.sender.component in fed and edge.receiver.component is not None:
            fed.add(edge.receiver.component)
    for edge in reversed(edges):
        if edge.receiver.component in used and edge.sender.component is not None:
            used.add(edge.sender.component)
    return space.mask(e for e in edges if e.sender.component in fed and e.receiver.component in used)


def _ranked(space: EdgeSpace, scores: Float[Tensor, "receiver sender"], by: str) -> Float[Tensor, "receiver sender"]:
    """What edges are chosen by; minus infinity where the model has none."""
    if by not in get_args(By):
        raise OptionError(f"Edges cannot be chosen by {by!r}; choose one of {', '.join(get_args(By))}.")
    if scores.shape != space.possible.shape:
        raise OptionError(
            f"Scores have shape {tuple(scores.shape)}; wanted {tuple(space.possible.shape)}, a row for each receiver "
            "and a column for each sender."
        )
    if bool(scores[space.possible].isnan().any()):
        raise OptionError("A score is not a number; run the prompts again, with --dtype float32.")
    return torch.where(space.possible, scores.abs() if by == "size" else scores, -torch.inf)


def _check_n(space: EdgeSpace, n: int) -> None:
    if not 1 <= n <= space.n_edges:
        raise OptionError(f"{n} edges cannot be chosen; the model has {space.n_edges}: give a number from 1 to that.")
