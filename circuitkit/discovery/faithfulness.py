"""How much of the model's behaviour a circuit keeps when everything else is replaced, and how much goes without it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.progress import Progress, silent
from circuitkit.discovery.circuit_parts import CircuitKind, PartSpace, parse_kind
from circuitkit.discovery.circuit_runs import CircuitRuns, runs_of, together
from circuitkit.discovery.resampled import Bootstrap, ci95, clearly_not_0
from circuitkit.interventions.circuit_runner import CircuitRunner

_FIGURES = ("model_logit_diff", "corrupted_logit_diff", "circuit_logit_diff", "complement_logit_diff")


@dataclass(frozen=True, kw_only=True, eq=False)
class Faithfulness:
    """What a circuit does on every prompt, beside the model and the model without the circuit.

    Attributes:
        kind: What the circuit is made of.
        nodes: Heads and MLPs in the circuit, and in the model.
        edges: Edges kept, and edges of the model.
        model: Logit difference of the intact model, in logits.
        corrupted: With every edge replaced, that of the embedding too.
        circuit: With the circuit kept and everything else replaced.
        complement: With the circuit's nodes (or edges) replaced and everything else kept.
        kl: KL divergence of the circuit from the model, in nats; None where the runner does not measure it.
        model_top1: 1 where the model's most probable token is the correct answer; None where not measured.
        circuit_top1: The same of the circuit.
        bootstrap: How prompts are drawn again for the intervals.
    """

    kind: CircuitKind
    nodes: tuple[int, int]
    edges: tuple[int, int]
    model: Float[Tensor, " prompt"]
    corrupted: Float[Tensor, " prompt"]
    circuit: Float[Tensor, " prompt"]
    complement: Float[Tensor, " prompt"]
    kl: Float[Tensor, " prompt"] | None
    model_top1: Float[Tensor, " prompt"] | None
    circuit_top1: Float[Tensor, " prompt"] | None
    bootstrap: Bootstrap

    @property
    def is_defined(self) -> bool:
        """Whether corruption clearly changes the model's logit difference (by two standard errors or more)."""
        return clearly_not_0(self.model - self.corrupted)

    @property
    def value(self) -> float | None:
        """Faithfulness: 1 as the model, 0 as with nothing kept; None where that makes no difference."""
        return _faithfulness(*self._measured[0].unbind()).item() if self.is_defined else None

    @cached_property
    def _measured(self) -> tuple[Float[Tensor, " row"], Float[Tensor, "draw row"] | None]:
        return self.bootstrap.means(torch.stack([self.model, self.corrupted, self.circuit, self.complement]))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form: means over prompts in logits, shares, and the 95% intervals of both under `ci95`.

        faithfulness = (circuit - corrupted) / (model - corrupted), of the means (Mueller et al. 2025, "MIB", arXiv
        2504.13151); `complement_share` is the same of the complement, near 0 where nothing outside the circuit does
        the task (Marks et al. 2024, arXiv 2403.19647); `logit_diff_share` = circuit / model.
        """
        means, draws = self._measured
        shares = {
            "faithfulness": (_faithfulness, self.is_defined),
            "complement_share": (_complement_share, self.is_defined),
            "logit_diff_share": (_logit_diff_share, clearly_not_0(self.model)),
        }
        of_draws = None if draws is None else draws.unbind(1)
        intervals: dict[str, Any] = dict(zip(_FIGURES, [None] * 4 if draws is None else ci95(draws), strict=True))
        figures: dict[str, Any] = dict(zip(_FIGURES, means.tolist(), strict=True))
        for name, (share, is_defined) in shares.items():
            figures[name] = share(*means.unbind()).item() if is_defined else None
            intervals[name] = ci95(share(*of_draws)) if is_defined and of_draws is not None else None
        return {
            **figures,
            "ci95": intervals,
            "kl": None if self.kl is None else self._mean(self.kl),
            "accuracy": self._accuracy(),
            "sparsity": {
                "nodes": self.nodes[0] / self.nodes[1],
                "edges": self.edges[0] / self.edges[1],
                "n_nodes": self.nodes[0],
                "n_edges": self.edges[0],
            },
        }

    def _mean(self, values: Float[Tensor, " prompt"]) -> dict[str, Any]:
        means, draws = self.bootstrap.means(values[None])
        return {"mean": means.item(), "ci95": None if draws is None else ci95(draws[:, 0])}

    def _accuracy(self) -> dict[str, Any]:
        """Shares of prompts: the correct answer above the incorrect one, and above every other token (top1)."""
        right = {
            "model": (self.model > 0).float(),
            "circuit": (self.circuit > 0).float(),
            "model_top1": self.model_top1,
            "circuit_top1": self.circuit_top1,
        }
        found = {name: None if values is None else self._mean(values) for name, values in right.items()}
        return {
            **{name: None if one is None else one["mean"] for name, one in found.items()},
            "ci95": {name: None if one is None else one["ci95"] for name, one in found.items()},
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why a figure is missing."""
        means = dict(zip(_FIGURES, self._measured[0].tolist(), strict=True))
        model, corrupted = means["model_logit_diff"], means["corrupted_logit_diff"]
        found: list[str] = []
        if len(self.model) == 1:
            return (
                "Faithfulness is not given, nor are intervals: one prompt has no standard error; give more prompts.",
            )
        if not self.is_defined:
            found.append(
                f"Faithfulness is not given: the logit difference of the model ({model:.2f}) is not clearly different "
                f"from that with everything replaced ({corrupted:.2f})."
            )
        if not clearly_not_0(self.model):
            found.append(
                "The share of the model's logit difference that the circuit keeps is not given: the model's "
                f"({model:.2f}) is not clearly different from 0."
            )
        return tuple(found)


def _faithfulness(model: Tensor, corrupted: Tensor, circuit: Tensor, complement: Tensor) -> Tensor:
    return normalised(circuit, model=model, corrupted=corrupted)


def _complement_share(model: Tensor, corrupted: Tensor, circuit: Tensor, complement: Tensor) -> Tensor:
    return normalised(complement, model=model, corrupted=corrupted)


def _logit_diff_share(model: Tensor, corrupted: Tensor, circuit: Tensor, complement: Tensor) -> Tensor:
    return circuit / model


def normalised(
    value: Float[Tensor, "*any"], *, model: Float[Tensor, "*#any"], corrupted: Float[Tensor, "*#any"]
) -> Float[Tensor, "*any"]:
    """Mean logit differences on the scale from 0 (nothing kept) to 1 (the model)."""
    return (value - corrupted) / (model - corrupted)


def faithfulness(
    runner: CircuitRunner | CircuitRuns,
    kept: Bool[Tensor, "receiver sender"],
    *,
    kind: CircuitKind | str = "edges",
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Faithfulness:
    """Measure a circuit, the model without it, and the model with nothing kept: three circuits.

    Args:
        runner: The model on its prompts; measures `logit_diff`, and `kl` and `top1` if these are wanted.
        kept: The circuit's edges; for one of nodes `space.of_nodes(nodes)`.
        kind: What the circuit is made of, and so what its complement is: the other edges, or what the other nodes and
            the embedding write.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of the draws.
        progress: Called as the work advances; a unit is one circuit.

    Raises:
        OptionError: The runner does not measure logit differences, or `kept` is no such circuit of its model.
    """
    settings, runs = Bootstrap(n_draws=bootstrap, seed=seed), runs_of(runner, progress)
    runs.require_logit_diff()
    space = PartSpace(space=runs.space, kind=parse_kind(kind))
    sets = [torch.zeros_like(kept), kept, space.mask(~space.parts(kept))]
    keys = runs.run(sets, 3, stage="faithfulness", at_once=together(space.kind))
    corrupted, circuit, complement = (runs.known[key] for key in keys)
    clean = runs.runner.clean
    return Faithfulness(
        kind=space.kind,
        nodes=(len(space.components_in(kept)), len(space.components)),
        edges=(int(kept.sum()), runs.space.n_edges),
        model=clean["logit_diff"],
        corrupted=corrupted["logit_diff"],
        circuit=circuit["logit_diff"],
        complement=complement["logit_diff"],
        kl=circuit.get("kl"),
        model_top1=clean.get("top1"),
        circuit_top1=circuit.get("top1"),
        bootstrap=settings,
    )
