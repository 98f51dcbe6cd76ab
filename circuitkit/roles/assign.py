"""Find out what the heads and MLPs of a model do in a task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from circuitkit.core.component import Component
from circuitkit.core.digest import digest
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.seeds import check_seed
from circuitkit.discovery.influence import influence
from circuitkit.discovery.influence_result import Influence
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.sweep_key import sweep_key
from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles.attention_to import RoleAttention, role_attention
from circuitkit.roles.bench import Bench
from circuitkit.roles.catalogue import ROLES
from circuitkit.roles.evidence import Floors
from circuitkit.roles.examples import pick_examples
from circuitkit.roles.head_writes import write_top
from circuitkit.roles.judge_role import RoleEvidence, judge_role
from circuitkit.roles.mlp_decomposition import decompose
from circuitkit.roles.notices import about_absent, about_causal, about_prompts
from circuitkit.roles.places import Places, Side
from circuitkit.roles.result import RoleResult, claimed
from circuitkit.roles.shuffled_text import shuffled_text
from circuitkit.roles.significance import LEAST_PROMPTS
from circuitkit.tasks.batch import PromptBatch, build_batch
from circuitkit.tasks.prompt import END
from circuitkit.tasks.task import Task


def find_roles(
    model: HookedModel,
    task: Task | PromptBatch,
    *,
    n_prompts: int = 64,
    measured: Influence | None = None,
    alpha: float = 0.05,
    min_attention: float = 0.2,
    min_effect: float = 0.02,
    min_write: float = 0.5,
    bootstrap: int = 1000,
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
    resume: Path | None = None,
    command: str | None = None,
    progress: Progress = silent,
) -> RoleResult:
    """Test every head for every role of the catalogue, and take the logit difference apart by MLP.

    A head is claimed to have a role if all evidence that applies to it holds beyond doubt of sampling and of chance:
    it reads what the role says (more than with keys moved at random, and more than the floor), patching its pattern or
    its values there changes the logit difference (more than the floor, and more than in random other heads), and it
    writes what it should (more often than other prompts' tokens, and than the floor). The p-value of a role is the
    largest of them (intersection-union test). Over all heads and roles together the false discovery rate is controlled
    as in a screen of all and a follow-up of some: what heads read and write is measured in all, and those in which it
    holds are patched (r-values, Heller, Bogomolov and Benjamini 2014). Without a role that holds, a component is
    unknown.

    Args:
        model: The model.
        task: A task, or a batch of prompts already built for this model. Roles that need labels read them from it. Of a
            task those prompts are left out and listed whose corrupted partner has another number of tokens; of a
            batch, `build_batch(..., least_even=8)` leaves them out.
        n_prompts: Prompts to draw from the task.
        measured: Influence of all components on the prompts of this batch, where it is known already.
        alpha: Share of false claims that is accepted among all.
        min_attention: Floor of the attention on a role's keys, as a share of what chance leaves over.
        min_effect: Floor of the causal effect, as a share of the mean logit difference.
        min_write: Floor of the share of prompts in which the write is right.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of prompts, bootstrap and nulls.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards are kept and looked for.
        command: The command line that asked for this, kept with the result.
        progress: Called as the work advances.

    Raises:
        TaskError: Too few prompts can be used.
        OptionError: An option is out of range, or what was measured is of another model or of other prompts.
    """
    floors = Floors(alpha=alpha, attention=min_attention, effect=min_effect, write=min_write)
    if bootstrap < 0:
        raise OptionError(f"{bootstrap} bootstrap draws were asked for; give 0 for no intervals, or a positive number.")
    seed = check_seed(seed)
    batch = task if isinstance(task, PromptBatch) else _batch(model, task, n_prompts, seed, progress)
    if measured is not None:
        _check_fits(measured, model, batch)
    measured = measured or influence(
        model,
        batch,
        n_prompts=n_prompts,
        ablation=Ablation.MEAN if batch.corrupted is None else Ablation.CORRUPTED_MEAN,
        bootstrap=bootstrap,
        seed=seed,
        batch_size=batch_size,
        resume=resume,
        command=command,
        stage="influence",
        progress=progress,
    )
    heads = [component for component in model.components if component.kind == "head"]
    bench = Bench(
        model=model,
        batch=batch,
        heads=heads,
        clean=measured.clean,
        causal=batch.corrupted is not None and batch.positional and measured.baseline.clear,
        random=_random_text(model, batch, seed=seed),
        written=write_top(model, batch, heads, seed=seed),
        floors=floors,
        n_draws=bootstrap,
        seed=seed,
        batch_size=batch_size,
        resume=resume,
        key=_key(model, batch, measured),
        progress=progress,
    )
    places, attention = _read(model, batch, progress)
    evidence: dict[str, RoleEvidence] = {}
    for name in attention:
        evidence[name] = judge_role(bench, ROLES[name], places[name], attention[name])
    parts = decompose(model, batch, progress=progress)
    absent = {name: role.needs for name, role in ROLES.items() if name not in evidence}
    return RoleResult(
        influence=measured,
        evidence=evidence,
        absent=absent,
        alpha=alpha,
        mlps=parts.records(n_draws=bootstrap, seed=seed),
        examples=pick_examples(model, batch, _shown(measured, evidence, alpha), places),
        settings={
            "n_prompts": n_prompts,
            "alpha": alpha,
            "min_attention": min_attention,
            "min_effect": min_effect,
            "min_write": min_write,
            "bootstrap": bootstrap,
            "seed": seed,
            "batch_size": batch_size,
            "data": task.data if isinstance(task, Task) else None,
        },
        made_with=measured.made_with,
        notices=(
            *about_causal(batch, clear=measured.baseline.clear),
            *about_prompts(evidence),
            *about_absent(absent, labelled=set(batch.label_positions) > {END}),
            *([bench.written.notice] if bench.written.notice else []),
            *([parts.notice] if parts.notice else []),
        ),
    )


def _batch(model: HookedModel, task: Task, n_prompts: int, seed: int, progress: Progress) -> PromptBatch:
    """Prompts with their partners of equal length, unless the task has no partners at all or too few such ones."""
    partners = any(pair.corrupted is not None for pair in task.draw(n_prompts, seed=seed))
    return build_batch(
        task,
        model,
        n_prompts=n_prompts,
        seed=seed,
        need_corrupted=partners,
        least_even=LEAST_PROMPTS,
        progress=progress,
    )


def _check_fits(measured: Influence, model: HookedModel, batch: PromptBatch) -> None:
    same = measured.model == model.info and measured.components == model.components
    if not same or len(measured.clean) != len(batch.pairs):
        raise OptionError(
            f"The influence given is of {measured.model.name!r} on {len(measured.clean)} prompts; wanted that of all "
            f"components of {model.info.name!r} on these {len(batch.pairs)}. Measure it on this batch."
        )


def _random_text(model: HookedModel, batch: PromptBatch, *, seed: int) -> dict[str, RoleAttention] | None:
    """What heads read in random text, by the roles that are about tokens; None where the prompts are too short."""
    text = shuffled_text(batch, seed=seed)
    if text is None:
        return None
    return role_attention(model, text, {name: role.anywhere(model, text, "clean") for name, role in ROLES.items()
                                        if role.anywhere is not None})  # fmt: skip


def _key(model: HookedModel, batch: PromptBatch, measured: Influence) -> str:
    """Digest of all that patched runs depend on, but the places and heads, which each shard's name adds."""
    versions: Mapping[str, str] = measured.made_with["versions"]
    labels = {label: positions.tolist() for label, positions in batch.label_positions.items()}
    sweep = sweep_key(model, batch, Ablation.RESAMPLE, components=model.components, versions=versions)
    return digest([sweep, labels, [[dict(p.labels), p.correct, p.incorrect] for p in batch.pairs]])


def _read(
    model: HookedModel, batch: PromptBatch, progress: Progress
) -> tuple[dict[str, Places], dict[str, RoleAttention]]:
    """Places in the clean prompts of the roles that have any on their side, and the attention to them there."""
    places: dict[str, Places] = {}
    attention: dict[str, RoleAttention] = {}
    sides: dict[Side, dict[str, Places]] = {"clean": {}, "corrupted": {}}
    for name, role in ROLES.items():
        if role.side == "corrupted" and (batch.corrupted is None or not batch.positional):
            continue
        where = role.places(model, batch, role.side)
        if bool(where.defined.any()):
            sides[role.side][name] = where
            places[name] = where if role.side == "clean" else role.places(model, batch, "clean")
    for side, wanted in sides.items():
        attention |= role_attention(model, batch, wanted, side=side, progress=progress) if wanted else {}
    return places, {name: attention[name] for name in ROLES if name in attention}


def _shown(measured: Influence, evidence: Mapping[str, RoleEvidence], alpha: float) -> dict[Component, list[str]]:
    """The heads that have a role, the most influential first."""
    roles: dict[str, Any] = claimed([str(c) for c in measured.components], evidence, alpha=alpha)
    order = torch.argsort(measured.values, descending=True, stable=True).tolist()
    ranked = [measured.components[i] for i in order]
    return {component: roles[str(component)] for component in ranked if roles[str(component)]}
