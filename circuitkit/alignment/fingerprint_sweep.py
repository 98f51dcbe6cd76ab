"""What every component of a model does to the answer when it sees a counterfactual prompt at some positions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.alignment.fingerprint_places import at_answer, reached
from circuitkit.core.component import Component
from circuitkit.core.digest import digest
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import Intervention, replace_components
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.interventions.rows import clean_logit_diff
from circuitkit.interventions.sweep_key import sweep_key
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.position_groups import PositionGroups, position_groups

PROMPTS_AT_A_TIME = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fingerprints:
    """Exact effects of a model's components on the answer, prompt by prompt.

    Attributes:
        components: What was patched.
        kinds: The counterfactual kinds that activations come from.
        groups: The groups of positions that were patched together.
        effects: Fall of the logit difference, in logits, when the component's activation at the positions of a group
            is taken from the run on the prompt's counterfactual.
        clean: Logit difference with nothing patched, in logits.
        prompt_index: Number of each prompt in the task.
    """

    components: tuple[Component, ...]
    kinds: tuple[str, ...]
    groups: tuple[str, ...]
    effects: Float[Tensor, "component kind group prompt"]
    clean: Float[Tensor, " prompt"]
    prompt_index: tuple[int, ...]

    @property
    def cells(self) -> Float[Tensor, "component cell prompt"]:
        """The effects with kinds and groups in one axis, kinds first, in logits."""
        return rearrange(self.effects, "component kind group prompt -> component (kind group) prompt")

    @property
    def mean(self) -> Float[Tensor, "component kind group"]:
        """The fingerprints: mean effects over the prompts, in logits (float64)."""
        return self.effects.double().mean(-1)

    @property
    def is_head(self) -> Bool[Tensor, " component"]:
        """Which components are heads; only components of one type are matched."""
        return torch.tensor([c.kind == "head" for c in self.components], dtype=torch.bool)


def fingerprints(
    model: HookedModel,
    batch: PromptBatch,
    *,
    components: Sequence[Component] | None = None,
    places: PositionGroups | None = None,
    batch_size: BatchSize = "auto",
    resume: Path | None = None,
    stage: str = "fingerprints",
    progress: Progress = silent,
) -> Fingerprints:
    """Patch every component at every group of positions from every counterfactual, each in a run of its own.

    Exact activation patching by replay. What cannot change the answer is not run, and its effect is exactly 0: in
    causal models positions before the first token at which a prompt and its counterfactual differ, and in the last
    block all positions but the answer's.

    Args:
        model: The model.
        batch: Prompts with their counterfactuals.
        components: What to patch; every head and MLP if not given.
        places: Groups of positions that are patched together; those of `position_groups` if not given.
        batch_size: Rows (component x group x prompt) run at a time. Numbers differ by rounding only.
        resume: Folder in which finished shards are kept and looked for.
        stage: Name of this work in progress reports.
        progress: Called as the work advances; units are block evaluations.

    Raises:
        OptionError: The prompts have no counterfactuals, a component is not in the model, or memory is short.
        ModelError: Logits are not finite.
    """
    if not batch.counterfactuals:
        raise OptionError(
            f"Task {batch.task.name!r} has no counterfactual prompts of the clean ones' lengths; give them, in the "
            "task's [counterfactuals] or the rows' field of this name."
        )
    chosen = model.components if components is None else tuple(dict.fromkeys(components))
    places = places or position_groups(batch)
    jobs = [_job(model, batch, kind, chosen, places.masks) for kind in batch.counterfactuals]
    shape = len(chosen), len(jobs), len(places.names), len(batch.pairs)
    changed, own = torch.zeros(shape), None
    total = sum(job.cost for job in jobs)
    for number, job in enumerate(jobs):
        if not job.units:
            continue
        found = run_interventions(
            model,
            job.batch,
            job.units,
            source=Ablation.RESAMPLE,
            batch_size=batch_size,
            store=ShardStore(resume, job.key(model)) if resume else None,
            stage=stage,
            progress=_Whole(progress=progress, before=sum(j.cost for j in jobs[:number]), total=total),
        )
        own = found.clean
        at = torch.tensor(job.cells)
        changed[at[:, 0], number, at[:, 1]] = found.clean - found.changed
    if own is None:
        at_once = PROMPTS_AT_A_TIME if batch_size == "auto" else min(PROMPTS_AT_A_TIME, batch_size)
        own = clean_logit_diff(model, batch, batch_size=at_once)
    return Fingerprints(
        components=chosen,
        kinds=tuple(batch.counterfactuals),
        groups=tuple(places.names),
        effects=changed,
        clean=own,
        prompt_index=batch.prompt_index,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """Reports the progress of one kind as that of all."""

    progress: Progress
    before: int
    total: int

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.progress(stage, self.before + done, self.total)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    """The runs of one counterfactual kind.

    Attributes:
        batch: The prompts, with the counterfactuals as their partners.
        cells: Component and group, by number, of each run.
        units: The runs.
        cost: Block evaluations that they take.
    """

    batch: PromptBatch
    cells: list[tuple[int, int]]
    units: list[Intervention]
    cost: int

    def key(self, model: HookedModel) -> str:
        key = sweep_key(model, self.batch, Ablation.RESAMPLE, components=(), versions=_versions(model))
        masks = {id(mask): mask for unit in self.units for mask in unit.edits.values() if mask is not None}
        digests = {at: sha256(mask.contiguous().numpy().tobytes()).hexdigest() for at, mask in masks.items()}
        units = [[[str(site), digests[id(mask)]] for site, mask in unit.edits.items()] for unit in self.units]
        return digest({"sweep": key, "units": units})


def _versions(model: HookedModel) -> Mapping[str, str]:
    return provenance(device=str(model.device), dtype=str(model.dtype), command=None)["versions"]


def _job(
    model: HookedModel,
    batch: PromptBatch,
    kind: str,
    components: Sequence[Component],
    groups: Bool[Tensor, "group prompt pos"],
) -> _Job:
    other, last = batch.counterfactuals[kind], model.info.n_layers - 1
    where = reached(batch, other, groups, is_causal=model.is_causal)
    masks = {False: where, True: where & at_answer(batch)}
    cells, units = list[tuple[int, int]](), list[Intervention]()
    runs = {is_last: some.any(-1).any(-1).tolist() for is_last, some in masks.items()}
    each = {is_last: list(some) for is_last, some in masks.items()}
    for row, component in enumerate(components):
        is_last = component.layer == last
        for group in range(len(groups)):
            if runs[is_last][group]:
                cells.append((row, group))
                units.append(replace_components(component, where=each[is_last][group]))
    cost = sum(model.info.n_layers - unit.first_layer for unit in units) * len(batch.pairs)
    return _Job(batch=replace(batch, corrupted=other, positional=True), cells=cells, units=units, cost=cost)
