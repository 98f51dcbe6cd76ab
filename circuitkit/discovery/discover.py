"""Find the circuit of a task in a model, and say how good it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from circuitkit.core.bootstrap import prompt_means
from circuitkit.core.component import Component
from circuitkit.core.digest import digest
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.core.run_directory import ShardStore
from circuitkit.core.seeds import check_seed
from circuitkit.discovery.circuit import Circuit, NodeEffect
from circuitkit.discovery.judge import Judgement, judge
from circuitkit.discovery.methods import DEFAULTS, find
from circuitkit.discovery.notices import about_ability, about_circuit
from circuitkit.discovery.runners import Runners
from circuitkit.discovery.search import (
    NAMED_APART,
    DiscoveryMethod,
    Found,
    Search,
    SearchOptions,
    check_options,
    check_sizes,
    parse_discovery_method,
)
from circuitkit.interventions.ablation import Ablation, parse_ablation
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.interventions.sweep import sweep
from circuitkit.interventions.sweep_key import sweep_key
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.precision import dtype_name, in_float32
from circuitkit.tasks.batch import PromptBatch, build_batch
from circuitkit.tasks.describe import describe_task
from circuitkit.tasks.task import Task

N_PROMPTS = 64
UNITS = {
    "drop": "fall of the model's logit difference when the node alone is ablated, in logits",
    "loss": "fall of the circuit's logit difference when the node is removed from it, in logits",
}
Judge = Literal["basic", "full", "none"]


def discover(
    model: HookedModel,
    task: Task | PromptBatch,
    *,
    method: DiscoveryMethod | str = "prune",
    options: SearchOptions | None = None,
    n_prompts: int = N_PROMPTS,
    ablation: Ablation | str = Ablation.CORRUPTED_MEAN,
    judged: Judge | str = "basic",
    bootstrap: int = 1000,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    as_loaded: bool = False,
    resume: Path | None = None,
    command: str | None = None,
    progress: Progress = silent,
    **given: Any,  # noqa: ANN401 - fields of SearchOptions, which checks them
) -> Circuit:
    """Find the heads and MLPs, or the edges between them, that carry a task, and measure how well they do.

    A model of 16 bits (bfloat16 or float16) is searched and judged in float32 arithmetic on the same weights: in 16
    bits a circuit's logit difference changes by hundredths with what runs beside it in the batch, and rounding would
    decide what is kept. The given model is not changed; its copy takes twice its memory until this returns.

    Args:
        model: The model.
        task: A task, or a batch of prompts already built for this model.
        method: `prune` (nodes; Distilled Circuits), `path-patching`, `acdc`, `eap`, `eap-ig` (edges), or `influence`
            (nodes by the drop that each causes alone).
        options: Options of the method; see `SearchOptions`. They may also be given by name: `threshold=.1`.
        n_prompts: Prompts to draw from the task.
        ablation: What everything outside the circuit is replaced by.
        judged: `basic` measures faithfulness, and the drop of every node alone; `full` also completeness over random
            subsets, minimality and the curve over circuit sizes; `none` nothing.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of prompts, subsets and bootstrap.
        batch_size: Rows run at a time.
        as_loaded: Compute in the model's own 16 bits. To search one model many times in float32, make the copy once
            with `circuitkit.models.in_float32` and give that.
        resume: Folder in which finished pieces of the search are kept and looked for.
        command: The command line that asked for this, kept with the result.
        progress: Called as the work advances.
        given: Options of the method by name.

    Raises:
        TaskError: Too few prompts can be used.
        OptionError: An option is unknown, out of range, or does not go with the method, the model or the task; or a
            model of 16 bits is spread over several devices, where no float32 copy can be made.
        ModelError: The model gives numbers that are not finite, or its float32 copy does not fit in memory.
    """
    method, ablation, seed = parse_discovery_method(method), parse_ablation(ablation), check_seed(seed)
    options = _options(options, given)
    check_options(method, options)
    if judged not in get_args(Judge):
        raise OptionError(f"How to judge: {judged!r} unknown; choose one of {', '.join(get_args(Judge))}.")
    if bootstrap < 0:
        raise OptionError(f"{bootstrap} bootstrap draws were asked for; give 0 for no intervals, or a positive number.")
    batch = (
        task
        if isinstance(task, PromptBatch)
        else build_batch(
            task, model, n_prompts=n_prompts, seed=seed, need_corrupted=ablation.needs_corrupted, progress=progress
        )
    )
    model = model if as_loaded else in_float32(model)
    made_with = provenance(device=str(model.device), dtype=dtype_name(model.dtype), command=command)
    settings = {**DEFAULTS[method], **_chosen(options)}
    key = _key(model, batch, ablation, method=method, settings=settings, versions=made_with["versions"])
    plain = method == "acdc" and bool(options.sequential)
    runners = Runners(model, batch, ablation, batch_size, progress, plain=plain)
    search = Search(
        model=model,
        batch=batch,
        ablation=ablation,
        options=options,
        batch_size=batch_size,
        store=ShardStore(resume, key) if resume else None,
        resume=resume,
        seed=seed,
        runner=runners,
        progress=progress,
    )
    check_sizes(method, options, runners.space)
    doubts = about_ability(runners("logit_diff"))
    found = find(method, search)
    judgement = None if judged == "none" else _judge(search, runners, found, judged, bootstrap=bootstrap)
    circuit = Circuit(
        model=model.info,
        task=describe_task(batch),
        method=method,
        kind=found.kind,
        kept=found.kept,
        edge_effects=found.edge_effects,
        node_effects=found.node_effects,
        faithfulness=None if judgement is None else judgement.to_dict(),
        units={**UNITS, **({} if found.effect_unit is None else {"effect": found.effect_unit})},
        evaluations=found.evaluations,
        gradients=found.gradients,
        settings={
            "method": method,
            "n_prompts": len(batch.pairs) if isinstance(task, PromptBatch) else n_prompts,
            "ablation": ablation.value,
            **settings,
            "judge": judged,
            "bootstrap": bootstrap,
            "seed": seed,
            "batch_size": batch_size,
            "as_loaded": as_loaded,
            "data": task.data if isinstance(task, Task) else None,
        },
        made_with=made_with,
        notices=(*doubts, *about_circuit(search, found, judgement)),
    )
    if judgement is None:
        return circuit
    return replace(circuit, node_effects=_with_effects(search, circuit.nodes, found, judgement))


def _judge(search: Search, runners: Runners, found: Found, judged: str, *, bootstrap: int) -> Judgement:
    full = judged == "full"
    return judge(
        runners("logit_diff", "kl", "top1"),
        found.kept,
        kind=found.kind,
        scores=found.scores if full else None,
        n_subsets=10 if full else 0,
        most_removed=200 if full else 0,
        bootstrap=bootstrap,
        seed=search.seed,
        progress=search.progress,
    )


def _with_effects(
    search: Search, nodes: tuple[Component, ...], found: Found, judgement: Judgement
) -> dict[Component, NodeEffect]:
    """What every node of the circuit costs alone, and in the circuit where that was measured."""
    alone = sweep(
        search.model,
        search.batch,
        ablation=search.ablation,
        components=nodes,
        batch_size=search.batch_size,
        stage="single nodes",
        progress=search.progress,
    )
    drops = dict(zip(nodes, prompt_means(alone.clean - alone.ablated).tolist(), strict=True)) if nodes else {}
    losses = {node: effect.loss for node, effect in found.node_effects.items()}
    if judgement.minimality is not None and found.kind == "nodes":
        measured = judgement.minimality.losses.double().mean(1).tolist()
        losses |= {Component.parse(name): loss for name, loss in zip(judgement.minimality.names, measured, strict=True)}
    return {node: NodeEffect(drop=drops[node], loss=losses.get(node)) for node in nodes}


def _options(options: SearchOptions | None, given: dict[str, Any]) -> SearchOptions:
    known = SearchOptions.__slots__
    if unknown := [name for name in given if name not in known]:
        raise OptionError(f"Option {unknown[0]!r} of discover unknown; methods take {', '.join(known)}.")
    return replace(options or SearchOptions(), **given)


def _chosen(options: SearchOptions) -> dict[str, Any]:
    values = {name: getattr(options, name) for name in SearchOptions.__slots__}
    given = {name: value for name, value in values.items() if value is not None}
    # a size replaces the share that may be lost, which is then no rule of this search
    return {"threshold": None, **given} if {"top", "min_effect"} & set(given) else given


def _key(
    model: HookedModel,
    batch: PromptBatch,
    ablation: Ablation,
    *,
    method: str,
    settings: dict[str, Any],
    versions: dict[str, str],
) -> str:
    """Digest of everything that the pieces of a search depend on and that their names do not tell."""
    base = sweep_key(model, batch, ablation, components=model.components, versions=versions)
    apart = NAMED_APART.get(method, frozenset[str]())
    options = {name: value for name, value in settings.items() if name not in apart}
    return digest({"base": base, "method": method, "settings": options})
