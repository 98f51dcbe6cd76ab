"""Sums of what senders write beyond their replacement values."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.interventions.edge_plan import EdgePlan
from circuitkit.interventions.edge_writes import EdgeWrites

_WORTH_A_TOTAL = 12
Kept = Bool[np.ndarray, "#unit sender"]


class EdgeChanges:
    """The changes of one run of several sets of edges: those computed in it, and those of the clean run.

    Args:
        writes: The clean run and the replacement values.
        plan: What is computed.
    """

    def __init__(self, writes: EdgeWrites, plan: EdgePlan) -> None:
        self.writes, self.plan = writes, plan
        self._written: dict[int, tuple[bool, Tensor]] = {}
        self._totals: dict[bool, list[tuple[int, Tensor]]] = {False: [], True: []}

    def write(self, column: int, change: Float[Tensor, "#unit row kept d_model"], *, at_answer: bool) -> None:
        """Note by how much a computed sender's write differs from its replacement."""
        self._written[column] = at_answer, change

    def added(self, kept: Kept, first: int, *, at_answer: bool) -> Float[Tensor, "unit_out row kept d_model"] | None:
        """Sum of the changes of some senders over the edges that are kept in each set; None where there are none.

        Args:
            kept: By set, or once for all sets, which of the senders from `first` on.
            first: Column of the first sender.
            at_answer: Whether only the answer position is wanted.
        """
        in_all = np.flatnonzero(kept.all(0))
        parts = self._in_all(first, first + kept.shape[1], (first + in_all).tolist(), at_answer=at_answer)
        in_some = np.flatnonzero(kept.any(0) & ~kept.all(0)) if len(kept) > 1 else np.zeros(0, dtype=np.int64)
        shared: list[int] = []
        for i in in_some.tolist():
            change = self._change(first + i, at_answer=at_answer)
            if len(change) == 1:
                shared.append(i)
            else:
                parts.append(change * _weights(kept[:, i], change))
        if shared:
            changes = torch.cat([self._change(first + i, at_answer=at_answer) for i in shared])
            weights = torch.as_tensor(kept[:, shared], dtype=changes.dtype, device=changes.device)
            parts.append(torch.einsum("us,srpd->urpd", weights, changes))
        return _sum(parts)

    def _in_all(self, first: int, last: int, kept: Sequence[int], *, at_answer: bool) -> list[Tensor]:
        """What sums to the changes of some senders; where most are kept, all of them and less what is not."""
        if len(kept) > _WORTH_A_TOTAL:
            inside = set(kept)
            missing = [c for c in range(first, last) if c not in inside and self._is_known(c, at_answer=at_answer)]
            if 2 * len(missing) < len(kept):
                total = self._total(last, at_answer=at_answer)
                if first:
                    total = total - self._total(first, at_answer=at_answer)
                less = _sum([self._change(c, at_answer=at_answer) for c in missing])
                return [total if less is None else total - less]
        return [self._change(column, at_answer=at_answer) for column in kept]

    def _total(self, end: int, *, at_answer: bool) -> Tensor:
        """The changes of all senders up to one, those left out that nothing reads."""
        totals = self._totals[at_answer]
        known = [(n, total) for n, total in totals if n <= end]
        if known and known[-1][0] == end:
            return known[-1][1]
        start, parts = (known[-1][0], [known[-1][1]]) if known else (0, list[Tensor]())
        columns = [c for c in range(start, end) if self._is_known(c, at_answer=at_answer)]
        total = _sum([*parts, *(self._change(c, at_answer=at_answer) for c in columns)])
        assert total is not None  # the embedding is always known
        totals.insert(len(known), (end, total))
        return total

    def _is_known(self, column: int, *, at_answer: bool) -> bool:
        if column in self._written:
            return at_answer or not self._written[column][0]
        return bool(self.plan.clean[column])

    def _change(self, column: int, *, at_answer: bool) -> Float[Tensor, "#unit row kept d_model"]:
        if column in self._written:
            only_there, change = self._written[column]
            return self.writes.at_answer(change) if at_answer and not only_there else change
        change = self.writes.clean_change(column, self.plan.space)
        return self.writes.at_answer(change) if at_answer else change


def _sum(parts: Sequence[Tensor]) -> Tensor | None:
    """Those that are the same in all sets first, so that most of the sum is made once."""
    total: Tensor | None = None
    own = False
    for part in sorted(parts, key=len):
        if total is None:
            total = part
        elif own and total.shape == part.shape:
            total += part.to(total.device)
        else:
            total, own = total + part.to(total.device), True
    return total


def _weights(kept: Bool[np.ndarray, " unit"], like: Tensor) -> Tensor:
    return torch.as_tensor(kept, dtype=like.dtype, device=like.device)[:, None, None, None]
