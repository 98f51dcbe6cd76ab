"""How the circuit that a method finds depends on its threshold (Distilled Circuits, Appendix N)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress
from circuitkit.core.run_directory import Contents, save_run
from circuitkit.discovery.circuit import Circuit

SCHEMA = "circuitkit.circuit-sweep/1"
PARAMETERS = {
    "prune": "threshold",
    "path-patching": "threshold",
    "acdc": "tau",
    "eap": "top",
    "eap-ig": "top",
    "influence": "top",
}
"""What is swept of each method."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CircuitSweep:
    """Circuits of one method, model and task at several values of its parameter.

    Attributes:
        parameter: What was swept: `threshold`, `tau` or `top`.
        values: Its values.
        circuits: The circuit at each.
    """

    parameter: str
    values: tuple[float, ...]
    circuits: tuple[Circuit, ...]

    def points(self) -> list[dict[str, Any]]:
        """Size and metrics at each value."""
        return [_point(value, circuit) for value, circuit in zip(self.values, self.circuits, strict=True)]

    def frame(self) -> pd.DataFrame:
        """One row a value."""
        return pd.DataFrame(self.points())

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract of `circuitkit.circuit-sweep/1`."""
        first = self.circuits[0].to_dict()
        shared = {name: first[name] for name in ("model", "task", "method", "kind", "command", "device", "dtype")}
        settings = {name: value for name, value in first["settings"].items() if name != self.parameter}
        warnings = dict.fromkeys(w for circuit in self.circuits for w in circuit.notices)
        return {
            "schema": SCHEMA,
            **shared,
            "versions": first["versions"],
            "settings": settings,
            "parameter": self.parameter,
            "points": self.points(),
            "warnings": list(warnings),
        }

    def save(self, path: str | Path) -> Path:
        """Write a run directory that holds each circuit in one of its own, named by the value.

        Raises:
            ResultError: It cannot be written.
        """
        children: dict[str, Contents] = {
            f"{self.parameter}-{_shown(value)}": (circuit.to_dict(), *circuit.tensors())
            for value, circuit in zip(self.values, self.circuits, strict=True)
        }
        return save_run(Path(path), self.to_dict(), {}, {}, children=children)


def sweep_circuits(
    search: Callable[[Mapping[str, Any], Progress], Circuit],
    method: str,
    values: Sequence[float | int],
    *,
    progress: Progress,
) -> CircuitSweep:
    """Find and judge a circuit at each value of the method's parameter.

    Args:
        search: Finds a circuit under some options of the method. Where it calls `discover` on a 16-bit model, let it
            give `circuitkit.models.in_float32(model)`, made once, so that no copy is made for every value.
        method: The method.
        values: The values, in any order; they are visited as given.
        progress: Called as the searches advance, each under its value.

    Raises:
        OptionError: There are no values, one is given twice, or one is out of range.
    """
    name = PARAMETERS[method]
    if not values or len(set(values)) < len(values):
        raise OptionError(f"Values {', '.join(map(_shown, values)) or '(none)'} to sweep; give some, and each once.")
    if broken := [v for v in values if not isfinite(v)]:
        raise OptionError(f"{broken[0]:g} cannot be a {name}; method {method!r} sweeps finite numbers.")
    if name == "top" and (broken := [v for v in values if v != int(v)]):
        raise OptionError(f"{broken[0]:g} is no number of parts to keep; method {method!r} sweeps whole numbers.")

    most = 1.0 if name == "threshold" else float("inf")
    if broken := [v for v in values if not 0 < v < most]:  # before the first search, not after those of the others
        wanted = "between 0 and 1" if name == "threshold" else "above 0"
        raise OptionError(f"{broken[0]:g} cannot be a {name} of {method!r}; give values {wanted}.")

    def found(value: float) -> Circuit:
        def named(stage: str, done: int, total: int) -> None:
            progress(f"{name} {_shown(value)}: {stage}", done, total)

        return search({name: int(value) if name == "top" else value}, named)

    return CircuitSweep(
        parameter=name, values=tuple(map(float, values)), circuits=tuple(found(value) for value in map(float, values))
    )


def _shown(value: float | int) -> str:
    """All digits, so that no two values look the same."""
    return repr(float(value)).removesuffix(".0")


def _point(value: float, circuit: Circuit) -> dict[str, Any]:
    point: dict[str, Any] = {
        "value": value,
        "n_nodes": len(circuit.nodes),
        "n_edges": None if circuit.edges is None else len(circuit.edges),
    }
    judged = circuit.faithfulness
    if judged is None:
        return point
    whole, kl = judged["completeness"], judged["kl"]
    return {
        **point,
        "faithfulness": judged["faithfulness"],
        "ci95": judged["ci95"]["faithfulness"],
        "circuit_logit_diff": judged["circuit_logit_diff"],
        "complement_share": judged["complement_share"],
        "completeness": None if whole is None else whole["mean_difference"],
        "kl": None if kl is None else kl["mean"],
        "accuracy": judged["accuracy"]["circuit"],
    }
