"""What a search for a circuit is asked for, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, cast, get_args

from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.edge import EdgeSpace
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.circuit import NodeEffect
from circuitkit.discovery.circuit_parts import CircuitKind
from circuitkit.discovery.select import By
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

DiscoveryMethod = Literal["prune", "path-patching", "acdc", "eap", "eap-ig", "influence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Options of the methods; None where a method's own default holds. Each method takes some of them.

    Attributes:
        threshold: Share of the model's logit difference that the circuit may lose (default .20).
        node_threshold: The same for the nodes that `path-patching` starts from (default .20).
        tau: By how much `acdc` lets the metric get worse for one edge (default .01).
        metric: What `acdc` watches (`kl`, `logit_diff`; default kl), or what `eap` and `eap-ig` estimate
            (`logit_diff`, `probability`, and `kl` for eap-ig; default logit_diff).
        top: How many edges (`eap`, `eap-ig`) or nodes (`influence`) to keep.
        min_effect: Keep the edges whose estimated effect, or the nodes whose influence, is at least this.
        by: Whether `eap` and `eap-ig` rank edges by `size` (default) or signed `value` of the effect.
        passes: After how many passes `prune` ends (default: when nothing changes any more).
        nodes: Whether `path-patching` looks between the `pruned` nodes (default) or `all`.
        variant: What `eap-ig` interpolates: `inputs` (default) or `activations`.
        steps: Between how many points (default 5).
        sequential: Whether `prune`, `path-patching` and `acdc` run the plain algorithm (default no).
    """

    threshold: float | None = None
    node_threshold: float | None = None
    tau: float | None = None
    metric: str | None = None
    top: int | None = None
    min_effect: float | None = None
    by: str | None = None
    passes: int | None = None
    nodes: str | None = None
    variant: str | None = None
    steps: int | None = None
    sequential: bool | None = None


TAKES: dict[str, frozenset[str]] = {
    "prune": frozenset({"threshold", "passes", "sequential"}),
    "path-patching": frozenset({"threshold", "node_threshold", "nodes", "sequential"}),
    "acdc": frozenset({"tau", "metric", "sequential"}),
    "eap": frozenset({"threshold", "metric", "top", "min_effect", "by"}),
    "eap-ig": frozenset({"threshold", "metric", "top", "min_effect", "by", "variant", "steps"}),
    "influence": frozenset({"threshold", "top", "min_effect"}),
}
"""Which options each method takes."""

_CHOICE = frozenset({"threshold", "top", "min_effect", "by"})
NAMED_APART: dict[str, frozenset[str]] = {
    "path-patching": frozenset({"threshold", "node_threshold", "nodes"}),
    "eap": _CHOICE,
    "eap-ig": _CHOICE,
}
"""Options that a method's finished pieces either do not depend on or carry in their names: effects of edges that are
measured once serve every threshold and size."""

_SHARES, _COUNTS = frozenset({"threshold", "node_threshold"}), frozenset({"top", "passes", "steps"})
_NAMED = {"top": "edges or nodes"}
_EXCLUSIVE = ("threshold", "top", "min_effect")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """A model, its prompts and the options of a search.

    Attributes:
        model: The model.
        batch: The prompts.
        ablation: What everything outside the circuit is replaced by.
        options: Options of the method.
        batch_size: Rows run at a time.
        store: Where finished pieces of the search are kept; None keeps nothing.
        resume: Folder of that store, for parts that keep pieces of their own.
        seed: Seed of everything random.
        runner: Runs circuits with the metric asked for.
        progress: Called as the work advances.
    """

    model: HookedModel
    batch: PromptBatch
    ablation: Ablation
    options: SearchOptions
    batch_size: BatchSize
    store: ShardStore | None
    resume: Path | None
    seed: int
    runner: Callable[[str], CircuitRunner]
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """A circuit as its method leaves it.

    Attributes:
        kind: Whether nodes or edges were searched.
        kept: The edges kept.
        edge_effects: Effects of edges; None for nodes.
        scores: What circuits of other sizes could be chosen by: of edges or of nodes (in the order of
            `HookedModel.components`); None where there is no such order.
        node_effects: What the method found of single nodes.
        effect_unit: What an effect of an edge is.
        evaluations: How many circuits were run; 0 where none was.
        gradients: How many gradients of each prompt were taken; None for methods that take none.
        warnings: Plain sentences that must be shown with the result.
    """

    kind: CircuitKind
    kept: Bool[Tensor, "receiver sender"]
    edge_effects: Float[Tensor, "receiver sender"] | None = None
    scores: Float[Tensor, "*part"] | None = None
    node_effects: dict[Component, NodeEffect]
    effect_unit: str | None = None
    evaluations: int
    gradients: int | None = None
    warnings: tuple[str, ...] = ()


def parse_discovery_method(method: str) -> DiscoveryMethod:
    """A method's name, checked.

    Raises:
        OptionError: There is no such method.
    """
    if method not in get_args(DiscoveryMethod):
        raise OptionError(f"Method {method!r} unknown; choose one of {', '.join(get_args(DiscoveryMethod))}.")
    return cast(DiscoveryMethod, method)


def check_options(method: str, options: SearchOptions) -> None:
    """Refuse options that a method does not take.

    Raises:
        OptionError: One is given, or two that say the same thing in two ways, or a number that is not finite or out
            of range.
    """
    given = [name for name in SearchOptions.__slots__ if getattr(options, name) is not None]
    for name in given:
        value = getattr(options, name)
        if isinstance(value, float) and not isfinite(value):
            raise OptionError(f"--{name.replace('_', '-')} {value:g} is no finite number; give one.")
        if name not in TAKES[method]:
            takes = ", ".join(sorted(TAKES[method])).replace("_", "-")
            raise OptionError(f"Method {method!r} does not take --{name.replace('_', '-')}; it takes {takes}.")
        _check_range(name, value)
    _check_choice(method, options)
    rules = [name for name in given if name in _EXCLUSIVE]
    if len(rules) > 1:
        named = " and ".join(f"--{name.replace('_', '-')}" for name in rules)
        raise OptionError(f"{named} each say how large the circuit is; give one of them.")


def check_sizes(method: str, options: SearchOptions, space: EdgeSpace) -> None:
    """Refuse a circuit larger than the model.

    Raises:
        OptionError: More parts are asked for than there are.
    """
    most, parts = (len(space.senders) - 1, "nodes") if method == "influence" else (space.n_edges, "edges")
    if options.top is not None and options.top > most:
        raise OptionError(
            f"--top {options.top} asks for more {parts} than there are: the model has {most}; give 1 to {most}."
        )


def _check_range(name: str, value: Any) -> None:  # noqa: ANN401 - a field of SearchOptions
    """Before anything is run, what no model can change."""
    option = f"--{name.replace('_', '-')}"
    if name in _SHARES and not 0 < value < 1:
        raise OptionError(f"{option} {value:g} is not a share of the logit difference; give one between 0 and 1.")
    if name == "tau" and value <= 0:
        raise OptionError(
            f"{option} {value:g} is not positive: every edge but those without any effect would stay; try 0.01."
        )
    if name in _COUNTS and value < 1:
        raise OptionError(f"{option} {value} is too few: {value} {_NAMED.get(name, name)} cannot be; give 1 or more.")


def _check_choice(method: str, options: SearchOptions) -> None:
    """What effects and influences are compared with; its range depends on what is compared."""
    least, by = options.min_effect, options.by or "size"
    if by not in get_args(By):
        raise OptionError(f"--by {by!r} unknown: edges are chosen by one of {', '.join(get_args(By))}.")
    if least is None:
        return
    if method == "influence" and not 0 < least <= 1:
        raise OptionError(
            f"--min-effect {least:g} is no least influence: influences are shares of the greatest; give a number above "
            "0 and at most 1."
        )
    if method != "influence" and by == "size" and least <= 0:
        raise OptionError(
            f"--min-effect {least:g} is no size of an effect: every edge would be kept; give a number above 0, or "
            "--by value to rank edges by their signed effect."
        )
