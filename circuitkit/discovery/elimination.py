"""Remove parts of a circuit one after the other, each only if little is lost: many at a time, with the same answer.

Whether a part may go depends on what went before it, so that the plain algorithm runs the model once for every part.
Here several are tried at once, each run assuming that all parts before it went; or, where most parts have lately had to
stay, that all before it stay. Up to the first part that turns out otherwise the assumption was true and the decisions
are those of the plain algorithm; behind it the rest is tried anew.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MOST_AT_ONCE = 256
_FIRST = 8
_MEMORY = 0.7  # of the length of the runs that were as assumed
_SHARE_MEMORY = 0.8  # of the share of parts that went


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of one part.

    Attributes:
        index: Its number.
        removed: Whether it went.
        value: The metric with it (and all that went before it) removed.
    """

    index: int
    removed: bool
    value: float


class Eliminator:
    """Removes parts from a set of edges in a given order.

    Args:
        measure: From sets of edges to the mean metric of each.
        may_go: Whether a part may be removed, from the metric before and after.
        cost_of_one_more: How long one more set takes in a call of `measure`, in units of what a call takes anyway:
            the more, the fewer are tried in vain.
        one_at_a_time: Run the plain algorithm.

    Attributes:
        evaluations: How many sets of edges have been run.
    """

    def __init__(
        self,
        measure: Callable[[Bool[Tensor, "circuit receiver sender"]], Float[Tensor, " circuit"]],
        may_go: Callable[[float, float], bool],
        *,
        cost_of_one_more: float = 0.1,
        one_at_a_time: bool = False,
    ) -> None:
        self._measure, self._may_go, self._plain = measure, may_go, one_at_a_time
        self._cost = cost_of_one_more
        self._run_length, self._share_removed = float(_FIRST), 1.0
        self.evaluations = 0

    def run(
        self,
        kept: Bool[Tensor, "receiver sender"],
        before: float,
        parts: Sequence[Bool[Tensor, "receiver sender"]],
    ) -> Iterator[Decision]:
        """Decide on every part in turn.

        Args:
            kept: The edges that there are.
            before: Their metric.
            parts: The edges that each part consists of.
        """
        first = 0
        while first < len(parts):
            some = parts[first : first + self._width()]
            likely = self._share_removed >= 0.5
            values = self._measure(_tried(kept, some, likely)).tolist()
            self.evaluations += len(some)
            done = 0
            for part, value in zip(some, values, strict=True):
                removed = self._may_go(before, value)
                yield Decision(index=first + done, removed=removed, value=value)
                done += 1
                self._share_removed += (1 - _SHARE_MEMORY) * (removed - self._share_removed)
                if removed:
                    kept, before = kept & ~part, value
                if removed != likely:
                    break
            self._run_length += (1 - _MEMORY) * ((done if done < len(some) else 2 * done) - self._run_length)
            first += done

    def _width(self) -> int:
        """As many as decide most for what they cost, if each assumption is true as often as those before were."""
        if self._plain:
            return 1
        true = self._run_length / (1 + self._run_length)
        best, width, decided = 0.0, 1, 0.0
        for n in range(1, MOST_AT_ONCE + 1):
            decided += true ** (n - 1)
            if decided / (1 + n * self._cost) < best:
                break
            best, width = decided / (1 + n * self._cost), n
        return width


def _tried(
    kept: Bool[Tensor, "receiver sender"], parts: Sequence[Bool[Tensor, "receiver sender"]], removed: bool
) -> Bool[Tensor, "circuit receiver sender"]:
    """The sets without each part, if those before it are all removed or all stay."""
    sets = list[Tensor]()
    for part in parts:
        sets.append(kept & ~part)
        kept = sets[-1] if removed else kept
    return torch.stack(sets)
