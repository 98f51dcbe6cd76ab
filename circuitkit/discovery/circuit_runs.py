"""Run circuits a few at a time, each of them once, and say how far that is."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.edge import EdgeSpace
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.discovery.circuit_parts import CircuitKind, PartSpace
from circuitkit.interventions.circuit_runner import CircuitRunner

AT_ONCE = 16
"""Circuits between two reports of progress."""


def together(kind: CircuitKind) -> int:
    """How many circuits that differ in many parts to run together.

    Sets of edges that have little in common cost many times more together than apart: what each receiver reads must
    then be summed for every set from every sender on which any two differ. In sets of nodes all receivers read alike.
    """
    return 1 if kind == "edges" else AT_ONCE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CircuitRuns:
    """A runner that remembers what it measured, so that the parts of a judgement share their runs.

    Attributes:
        runner: Runs the circuits.
        progress: Called as the work advances; a unit is one circuit.
        known: What was measured of each circuit so far, by a digest of the circuit.
    """

    runner: CircuitRunner
    progress: Progress = silent
    known: dict[bytes, dict[str, Float[Tensor, " prompt"]]] = field(
        default_factory=dict[bytes, dict[str, Float[Tensor, " prompt"]]]
    )

    @property
    def space(self) -> EdgeSpace:
        """The model's edges."""
        return self.runner.space

    @property
    def n_run(self) -> int:
        """How many circuits were run so far."""
        return len(self.known)

    def run(
        self, circuits: Iterable[Bool[Tensor, "receiver sender"]], n: int, *, stage: str, at_once: int = AT_ONCE
    ) -> list[bytes]:
        """Run circuits that were not run before.

        Args:
            circuits: They are made when they are needed: many do not fit into memory at once.
            n: How many there are.
            stage: Name of this work in progress reports.
            at_once: How many to run together.

        Returns:
            The key of each circuit in `known`.
        """
        keys: list[bytes] = []
        waiting: dict[bytes, Bool[Tensor, "receiver sender"]] = {}
        self.progress(stage, 0, n)
        for kept in circuits:
            keys.append(_key(kept))
            if keys[-1] not in self.known:
                waiting[keys[-1]] = kept
            if len(waiting) == at_once and len(keys) < n:
                self._run(waiting)
                self.progress(stage, len(keys), n)
        if waiting:
            self._run(waiting)
        self.progress(stage, n, n)
        return keys

    def _run(self, waiting: dict[bytes, Bool[Tensor, "receiver sender"]]) -> None:
        found = self.runner.run(torch.stack(list(waiting.values())))
        for i, key in enumerate(waiting):
            self.known[key] = {name: value[i] for name, value in found.items()}
        waiting.clear()

    def logit_diffs(
        self, space: PartSpace, circuits: Bool[Tensor, "circuit part"], *, stage: str, at_once: int = AT_ONCE
    ) -> Float[Tensor, "circuit prompt"]:
        """Logit difference of every circuit and prompt, in logits.

        Args:
            space: The parts.
            circuits: Sets of parts to keep.
            stage: Name of this work in progress reports.
            at_once: How many to run together.

        Raises:
            OptionError: The runner does not measure logit differences.
        """
        sets = (space.mask(parts) for parts in circuits)
        return self.logit_diffs_of(sets, len(circuits), stage=stage, at_once=at_once)

    def logit_diffs_of(
        self, circuits: Iterable[Bool[Tensor, "receiver sender"]], n: int, *, stage: str, at_once: int = AT_ONCE
    ) -> Float[Tensor, "circuit prompt"]:
        """The same of `n` sets of edges.

        Raises:
            OptionError: The runner does not measure logit differences.
        """
        self.require_logit_diff()
        keys = self.run(circuits, n, stage=stage, at_once=at_once)
        return torch.stack([self.known[key]["logit_diff"] for key in keys])

    def require_logit_diff(self) -> None:
        """Check that logit differences are measured.

        Raises:
            OptionError: They are not.
        """
        if "logit_diff" not in self.runner.clean:
            raise OptionError(
                f"Circuits are judged by the logit difference, but the runner measures {', '.join(self.runner.clean)}; "
                "build it with metrics=('logit_diff', 'kl', 'top1')."
            )


def runs_of(runner: CircuitRunner | CircuitRuns, progress: Progress) -> CircuitRuns:
    """The runner with a memory, or the one it has."""
    return runner if isinstance(runner, CircuitRuns) else CircuitRuns(runner=runner, progress=progress)


def _key(kept: Bool[Tensor, "receiver sender"]) -> bytes:
    return blake2b(kept.contiguous().numpy().tobytes(), digest_size=16).digest()
