"""The residual stream that each receiver reads: replacement values, and what the kept edges add to them."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.edge import Receiver
from circuitkit.interventions.edge_changes import EdgeChanges
from circuitkit.interventions.edge_plan import EdgePlan
from circuitkit.interventions.edge_writes import EdgeWrites
from circuitkit.models.offload import device_of

Rows = Bool[np.ndarray, "#unit upstream"]


class EdgeStreams:
    """Streams of one run of several sets of edges; receivers that read the same edges share one.

    Steps count the points at which receivers read: 2l before block l, 2l + 1 between its attention and its MLP, and
    twice the number of blocks at the logits.

    Args:
        writes: The clean run and the replacement values.
        plan: What is computed.
    """

    def __init__(self, writes: EdgeWrites, plan: EdgePlan) -> None:
        self.writes, self.plan = writes, plan
        self.changes = EdgeChanges(writes, plan)
        self._states: dict[tuple[int, bool, bytes], Tensor] = {}

    def read(self, receiver: Receiver, *, at_answer: bool) -> Float[Tensor, "#unit row kept d_model"]:
        """The stream that a receiver reads, before any norm of its own; it must not be overwritten.

        Args:
            receiver: Who reads; everything that it reads must have been written.
            at_answer: Whether only the answer position is wanted.
        """
        return self.read_rows(self.plan.row(receiver), self.step(receiver), at_answer=at_answer)

    def step(self, receiver: Receiver) -> int:
        """When a receiver reads."""
        if receiver.component is None:
            return 2 * self.plan.space.n_layers
        return 2 * receiver.component.layer + (receiver.input is None)

    def read_rows(self, rows: Rows, step: int, *, at_answer: bool) -> Float[Tensor, "unit_out row kept d_model"]:
        """The same for the edges of a receiver, one row a set, or one for all sets."""
        found = self._known(rows, step, at_answer=at_answer)
        if found is not None:
            return found
        start, state = self._start(rows, step, at_answer=at_answer)
        state = self._extend(state, rows, start, step, at_answer=at_answer)
        self._states = {key: known for key, known in self._states.items() if key[0] >= step - 2}
        self._states[step, at_answer, _key(rows)] = state
        return state

    def _known(self, rows: Rows, step: int, *, at_answer: bool) -> Tensor | None:
        found = self._states.get((step, at_answer, _key(rows)))
        if found is None and at_answer and (everywhere := self._states.get((step, False, _key(rows)))) is not None:
            return self.writes.at_answer(everywhere)
        return found

    def _start(self, rows: Rows, step: int, *, at_answer: bool) -> tuple[int, Tensor]:
        """The latest step up to which the stream is known: read by another receiver, or that of the clean run."""
        for earlier in range(step - 1, max(-1, step - 3), -1):
            found = self._known(_collapsed(rows[:, : self._n_upstream(earlier)]), earlier, at_answer=at_answer)
            if found is not None:
                return earlier, found
        for earlier in range(step, -1, -1):
            n = self._n_upstream(earlier)
            if rows[:, :n].all() and self.plan.clean[:n].all():
                state = self.writes.clean_stream(earlier // 2, mid=bool(earlier % 2))
                return earlier, self.writes.at_answer(state) if at_answer else state
        embed = self.writes.replaced_embed.expand_as(self.writes.hidden[0])[None]
        change = self.changes.added(rows[:, :1], 0, at_answer=at_answer)
        embed = self.writes.at_answer(embed) if at_answer else embed
        return 0, embed if change is None else embed + change

    def _extend(self, state: Tensor, rows: Rows, start: int, end: int, *, at_answer: bool) -> Tensor:
        if start < end and self.writes.family.pre_norm:
            return self._sum(state, rows, start, end, at_answer=at_answer)
        for step in range(start, end):
            layer, mlp = step // 2, bool(step % 2)
            block = self.writes.blocks[layer]
            state = state.to(device_of(block))
            first, last = self._n_upstream(step), self._n_upstream(step + 1)
            replaced = self.writes.replaced(layer, mlp=mlp)[None]
            replaced = self.writes.at_answer(replaced) if at_answer else replaced
            change = self.changes.added(rows[:, first:last], first, at_answer=at_answer)
            added = replaced.clone() if change is None else replaced + change
            state = self._normed(layer, state, added, mlp=mlp)
        return state

    def _sum(self, state: Tensor, rows: Rows, start: int, end: int, *, at_answer: bool) -> Tensor:
        """Pre-LN: however many steps are between them, the stream is a sum."""
        replaced = self.writes.replaced_between(start, end)[None]
        replaced = self.writes.at_answer(replaced) if at_answer else replaced
        first, last = self._n_upstream(start), self._n_upstream(end)
        change = self.changes.added(rows[:, first:last], first, at_answer=at_answer)
        added = replaced if change is None else replaced.to(change.device) + change
        return state.to(added.device) + added

    def _normed(self, layer: int, state: Tensor, added: Tensor, *, mlp: bool) -> Tensor:
        """Post-LN: an addition and a LayerNorm; what is added may be overwritten."""
        shape = torch.broadcast_shapes(state.shape, added.shape)
        stream, write = (x.expand(shape).flatten(1, 2) for x in (state, added))
        write = write.contiguous() if added.shape == shape else write.clone()
        block, family = self.writes.blocks[layer], self.writes.family
        if mlp:
            return family.close(block, stream, write).unflatten(1, shape[1:3])
        return family.mid(block, stream, write).unflatten(1, shape[1:3])

    def _n_upstream(self, step: int) -> int:
        n_heads = self.plan.space.n_heads
        return 1 + step // 2 * (n_heads + 1) + step % 2 * n_heads


def _collapsed(rows: Rows) -> Rows:
    return rows[:1] if len(rows) > 1 and bool((rows == rows[:1]).all()) else rows


def _key(rows: Rows) -> bytes:
    return bytes(str(rows.shape), "ascii") + rows.tobytes()
