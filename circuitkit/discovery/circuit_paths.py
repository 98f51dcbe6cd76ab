"""Which edges of a set can matter: those on a path from the embedding to the logits."""

import torch
from jaxtyping import Bool
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.edge import EdgeSpace


def on_paths(space: EdgeSpace, kept: Bool[Tensor, "receiver sender"]) -> Bool[Tensor, "receiver sender"]:
    """The edges on a path of kept edges from the embedding to the logits.

    An edge that leads nowhere changes nothing. One that starts at a head or MLP which itself reads replaced values only
    writes what that computes of them: its own replacement where the values are those of one prompt, something else
    where they are means.

    Args:
        space: The model's edges.
        kept: A set of edges.
    """
    kept = kept & space.possible
    rows: dict[Component | None, list[int]] = {}
    for receiver, row in space.receiver_index.items():
        rows.setdefault(receiver.component, []).append(row)
    written = list(enumerate(space.senders))[1:]  # in the order of computation
    reached = torch.zeros(len(space.senders), dtype=torch.bool)
    reached[0] = True
    for column, sender in written:
        reached[column] = (kept[rows[sender.component]] & reached).any()
    useful = torch.zeros(len(space.receivers), dtype=torch.bool)
    useful[-1] = True
    for column, sender in reversed(written):
        useful[rows[sender.component]] = (kept[:, column] & useful).any()
    return kept & reached & useful[:, None]
