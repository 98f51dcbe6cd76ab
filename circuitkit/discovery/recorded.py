"""Values of circuits written down as they are measured, so that an interrupted search does not measure them again."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.circuit_runner import CircuitRunner

_PER_SHARD = 256


class RecordedMean:
    """Means of a metric over the prompts, in double precision.

    A search asks for the same circuits in the same order whenever it is given the same values. What was measured
    before an interruption is therefore read back in order, and the search ends up where it was.

    Args:
        runner: The model and the prompts.
        metric: Name of one of the runner's metrics.
        store: Where values are kept and found again; its key must tell apart whatever the values depend on.
        name: What they are called there; it must tell apart whatever the order of the circuits depends on.
    """

    def __init__(self, runner: CircuitRunner, metric: str, *, store: ShardStore | None, name: str) -> None:
        self._runner, self._metric, self._store, self._name = runner, metric, store, name
        self._values, self._asked = list[float](), 0
        while store is not None and (found := store.load(self._shard(len(self._values)))) is not None:
            self._values += found["values"].tolist()
            if len(found["values"]) < _PER_SHARD:
                break

    def __call__(self, kept: Bool[Tensor, "circuit receiver sender"]) -> Float[Tensor, " circuit"]:
        """Mean of each set of edges, in the metric's unit."""
        first, self._asked = self._asked, self._asked + len(kept)
        if self._asked > len(self._values):
            new = self._runner.run(kept)[self._metric].double().mean(1)
            known = len(self._values)
            self._values[first:] = new.tolist()
            self._keep(known)
        return torch.tensor(self._values[first : self._asked], dtype=torch.float64)

    def _shard(self, value: int) -> str:
        return f"{self._name}-{value // _PER_SHARD}"

    def _keep(self, known: int) -> None:
        if self._store is None:
            return
        for first in range(known - known % _PER_SHARD, len(self._values), _PER_SHARD):
            some = torch.tensor(self._values[first : first + _PER_SHARD], dtype=torch.float64)
            self._store.save(self._shard(first), {"values": some})
