"""The discovery methods by name, each from a search to what it found."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.digest import digest
from circuitkit.core.errors import OptionError
from circuitkit.discovery.acdc import TAU, acdc
from circuitkit.discovery.circuit import NodeEffect
from circuitkit.discovery.eap import EdgeScores, eap
from circuitkit.discovery.floor import least_logit_diff
from circuitkit.discovery.influence import influence
from circuitkit.discovery.path_patching import EDGE_THRESHOLD, path_patching
from circuitkit.discovery.prune import NODE_THRESHOLD, Pruned, prune
from circuitkit.discovery.recorded import RecordedMean
from circuitkit.discovery.search import DiscoveryMethod, Found, Search
from circuitkit.discovery.select import connected_top_n, without_dead_ends
from circuitkit.discovery.select import threshold as above
from circuitkit.discovery.smallest import Smallest, smallest
from circuitkit.discovery.threshold import influential_nodes
from circuitkit.interventions.circuit_runner import CircuitRunner

FALL, RISE = "fall of the logit difference, in logits", "rise of the KL divergence, in nats"
UNITS = {"logit_diff": FALL, "kl": RISE, "probability": "fall of the correct answer's probability"}
LOSS = 0.20


def find(method: DiscoveryMethod, search: Search) -> Found:
    """Run a method.

    Raises:
        OptionError: An option is out of range, or the method cannot be used on this model and task.
        ModelError: The model gives numbers that are not finite.
    """
    return METHODS[method](search)


def _prune(search: Search) -> Found:
    runner = search.runner("logit_diff")
    found = prune(runner, **_given(search, "threshold", "passes"), **_how(search))
    return Found(
        kind="nodes",
        kept=runner.space.of_nodes(found.nodes),
        node_effects=_losses(found),
        evaluations=found.evaluations,
    )


def _losses(found: Pruned) -> dict[Component, NodeEffect]:
    return {test.component: NodeEffect(loss=test.loss) for test in found.tests if test.component in found.nodes}


def _path_patching(search: Search) -> Found:
    nodes = search.options.nodes or "pruned"
    if nodes not in ("pruned", "all"):
        raise OptionError(f"--nodes {nodes!r} unknown; choose pruned or all.")
    if nodes == "all" and search.options.node_threshold is not None:
        raise OptionError("--nodes all takes every node, and --node-threshold chooses some; give one of them.")
    found = path_patching(
        search.runner("logit_diff"),
        nodes=nodes,
        **_given(search, "threshold", "node_threshold"),
        **_how(search),
    )
    return Found(
        kind="edges",
        kept=found.kept,
        edge_effects=found.effects,
        scores=found.effects,
        node_effects={},
        effect_unit=f"{FALL}, of the whole model without the edge",
        evaluations=found.evaluations,
        warnings=found.warnings,
    )


def _acdc(search: Search) -> Found:
    metric = search.options.metric or "kl"
    if metric not in ("kl", "logit_diff"):
        raise OptionError(f"--metric {metric!r} cannot be watched by acdc; choose kl or logit_diff.")
    found = acdc(search.runner(metric), metric=metric, **_given(search, "tau"), **_how(search, "sequential"))
    return Found(
        kind="edges",
        kept=found.kept,
        edge_effects=found.effects,
        scores=found.effects,
        node_effects={},
        effect_unit=f"{UNITS[metric]}, of the circuit without the edge when it was tested",
        evaluations=found.evaluations,
    )


def _attribution(search: Search, method: str) -> Found:
    metric = search.options.metric or "logit_diff"
    scores = eap(
        search.model,
        search.batch,
        ablation=search.ablation,
        metric=metric,
        method=method,
        **_given(search, "variant", "steps"),
        batch_size=search.batch_size,
        store=search.store,
        progress=search.progress,
    )
    runner = search.runner("logit_diff")
    chosen, evaluations = _chosen_edges(search, runner, scores)
    kept = without_dead_ends(runner.space, chosen)
    return Found(
        kind="edges",
        kept=kept,
        edge_effects=scores.mean,
        scores=scores.mean,
        node_effects={},
        effect_unit=f"{UNITS[metric]}, estimated from gradients",
        evaluations=evaluations,
        gradients=scores.n_gradients,
        warnings=(
            "The effects of edges are estimates from gradients; none was measured by itself.",
            *_about_dead_ends(int(chosen.sum()), int(kept.sum())),
        ),
    )


def _chosen_edges(
    search: Search, runner: CircuitRunner, scores: EdgeScores
) -> tuple[Bool[Tensor, "receiver sender"], int]:
    """By size of effect, or connected to the logits by number or as few as keep the behaviour; with dead ends."""
    space, options = runner.space, search.options
    by = options.by or "size"
    if options.min_effect is not None:
        return above(space, scores.mean, options.min_effect, by=by), 0

    def top(n: int) -> Bool[Tensor, "receiver sender"]:
        return connected_top_n(space, scores.mean, n, by=by)

    if options.top is not None:
        return top(options.top), 0
    found = _smallest(search, runner, lambda n: without_dead_ends(space, top(n)), space.n_edges)
    return top(found.size), found.evaluations


def _about_dead_ends(chosen: int, kept: int) -> tuple[str, ...]:
    if chosen == kept:
        return ()
    return (
        f"Of the {chosen} edges chosen by their effects, {chosen - kept} lie on no path from the embedding to the "
        "logits and were left out.",
    )


def _smallest(
    search: Search, runner: CircuitRunner, circuit: Callable[[int], Bool[Tensor, "receiver sender"]], n_parts: int
) -> Smallest:
    """The number of parts of the smallest circuit that keeps the behaviour."""
    options = search.options
    name = f"sizes-{digest([options.threshold, options.by])}"
    mean = RecordedMean(runner, "logit_diff", store=search.store, name=name)
    return smallest(
        lambda sizes: mean(torch.stack([circuit(n) for n in sizes])).tolist(),
        n_parts,
        floor=_floor(search, runner),
        progress=search.progress,
    )


def _influence(search: Search) -> Found:
    found = influence(
        search.model,
        search.batch,
        ablation=search.ablation,
        bootstrap=0,
        seed=search.seed,
        batch_size=search.batch_size,
        resume=search.resume,
        progress=search.progress,
    )
    runner, options, evaluations = search.runner("logit_diff"), search.options, 0
    if options.min_effect is not None:
        nodes = influential_nodes(found, threshold=options.min_effect)
    elif options.top is not None:
        nodes = influential_nodes(found, top=options.top)
    else:

        def top(n: int) -> Bool[Tensor, "receiver sender"]:
            return runner.space.of_nodes(influential_nodes(found, top=n))

        size = _smallest(search, runner, top, len(found.components))
        nodes, evaluations = influential_nodes(found, top=size.size), size.evaluations
    drops = found.drops.double().mean(1)
    return Found(
        kind="nodes",
        kept=runner.space.of_nodes(nodes),
        scores=drops.float(),
        node_effects={
            c: NodeEffect(drop=drop) for c, drop in zip(found.components, drops.tolist(), strict=True) if c in nodes
        },
        evaluations=evaluations,
    )


def _floor(search: Search, runner: CircuitRunner) -> float:
    share = LOSS if search.options.threshold is None else search.options.threshold
    return least_logit_diff(runner, share, option="--threshold")


def _given(search: Search, *names: str) -> dict[str, Any]:
    """The options of some names that the user gave; the method knows its own defaults."""
    values = {name: getattr(search.options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _how(search: Search, plain: str = "one_at_a_time") -> dict[str, Any]:
    return {plain: bool(search.options.sequential), "store": search.store, "progress": search.progress}


METHODS: dict[str, Callable[[Search], Found]] = {
    "prune": _prune,
    "path-patching": _path_patching,
    "acdc": _acdc,
    "eap": lambda search: _attribution(search, "eap"),
    "eap-ig": lambda search: _attribution(search, "eap-ig"),
    "influence": _influence,
}

DEFAULTS: dict[str, dict[str, Any]] = {
    "prune": {"threshold": NODE_THRESHOLD, "passes": None, "sequential": False},
    "path-patching": {
        "threshold": EDGE_THRESHOLD,
        "node_threshold": NODE_THRESHOLD,
        "nodes": "pruned",
        "sequential": False,
    },
    "acdc": {"tau": TAU, "metric": "kl", "sequential": False},
    "eap": {"threshold": LOSS, "metric": "logit_diff", "top": None, "min_effect": None, "by": "size"},
    "eap-ig": {
        "threshold": LOSS,
        "metric": "logit_diff",
        "top": None,
        "min_effect": None,
        "by": "size",
        "variant": "inputs",
        "steps": 5,
    },
    "influence": {"threshold": LOSS, "top": None, "min_effect": None},
}
"""What holds where an option is not given, kept with the result."""
