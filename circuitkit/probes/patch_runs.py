"""The runs behind a patching map: every site at every group of positions, as interventions that share their source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import cast, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.digest import digest
from circuitkit.core.progress import Progress
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import Intervention, replace_components
from circuitkit.interventions.replacement import Base, Replacement
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.interventions.rows import clean_logit_diff
from circuitkit.interventions.sweep_key import sweep_key
from circuitkit.models.hooked_model import HookedModel
from circuitkit.probes.head_parts import HeadPart, mixed_heads, reads
from circuitkit.probes.patch_sites import WHOLE, Part, PatchSite
from circuitkit.probes.places import PatchPlaces
from circuitkit.tasks.batch import PromptBatch

PROMPTS_AT_A_TIME = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patched:
    """Logit differences, in logits.

    Attributes:
        base: Of the prompts that run, nothing patched.
        partners: Of the prompts that activations are taken from.
        changed: Of the patched runs.
    """

    base: Float[Tensor, " prompt"]
    partners: Float[Tensor, " prompt"]
    changed: Float[Tensor, "site group prompt"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    """Runs that share what their values are made of.

    Attributes:
        sites: Numbers of what is patched.
        groups: Numbers of the groups of positions.
        units: The runs, sites first.
        source: Whose activations are patched in.
    """

    sites: list[int]
    groups: list[int]
    units: list[Intervention]
    source: Ablation | Replacement

    def cost(self, n_layers: int) -> int:
        return sum(n_layers - unit.first_layer for unit in self.units)


def run_patches(
    model: HookedModel,
    batch: PromptBatch,
    sites: Sequence[PatchSite],
    places: PatchPlaces,
    *,
    base: Base,
    batch_size: BatchSize,
    resume: Path | None,
    versions: Mapping[str, str],
    progress: Progress,
) -> Patched:
    """Patch every site at every group of positions, each in a run of its own.

    Args:
        model: The model.
        batch: The prompts.
        sites: What is patched.
        places: Where.
        base: The prompts that run; activations come from their partners.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards are kept and looked for.
        versions: Versions of what computes, for the shards' names.
        progress: Called as the work advances; units are block evaluations.

    Raises:
        OptionError: Memory is short for one row.
        ModelError: Logits are not finite.
    """
    jobs, n_prompts = _jobs(model, batch, sites, places, base), len(batch.pairs)
    key = sweep_key(model, batch, Ablation.RESAMPLE, components=(), versions=versions)
    changed, own = torch.zeros(len(sites), len(places.names), n_prompts), torch.zeros(n_prompts)
    costs = [n_prompts * job.cost(model.info.n_layers) for job in jobs]
    for number, job in enumerate(jobs):
        runs = run_interventions(
            model,
            batch,
            job.units,
            source=job.source,
            base=base,
            batch_size=batch_size,
            store=ShardStore(resume, _shard_key(key, base, job, sites, places)) if resume else None,
            stage="patching",
            progress=_Whole(progress=progress, before=sum(costs[:number]), total=sum(costs)),
        )
        where = torch.tensor(job.sites)[:, None], torch.tensor(job.groups)
        changed[where] = runs.changed.unflatten(0, (len(job.sites), len(job.groups)))
        own = runs.clean
    assert batch.corrupted is not None
    taken = replace(batch, clean=batch.corrupted if base == "clean" else batch.clean)
    at_once = PROMPTS_AT_A_TIME if batch_size == "auto" else min(PROMPTS_AT_A_TIME, batch_size)
    return Patched(base=own, partners=clean_logit_diff(model, taken, batch_size=at_once), changed=changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """Reports the progress of one job as that of all."""

    progress: Progress
    before: int
    total: int

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.progress(stage, self.before + done, self.total)


def _jobs(
    model: HookedModel, batch: PromptBatch, sites: Sequence[PatchSite], places: PatchPlaces, base: Base
) -> list[_Job]:
    """Whole activations in one job; a part of a head in one, or, where its values depend on the place, one a place."""
    assert batch.corrupted is not None
    into, out_of = (batch.clean, batch.corrupted) if base == "clean" else (batch.corrupted, batch.clean)
    groups = range(len(places.names))

    def job(rows: list[int], some: Sequence[int], source: Ablation | Replacement) -> _Job:
        units = [
            replace_components(sites[r].site, where=_where(model, sites[r].part, places.masks[g]))
            for r in rows
            for g in some
        ]
        return _Job(sites=rows, groups=list(some), units=units, source=source)

    jobs: list[_Job] = []
    if whole := [r for r, site in enumerate(sites) if site.part in WHOLE]:
        jobs.append(job(whole, groups, Ablation.RESAMPLE))
    for part in cast(tuple[HeadPart, ...], get_args(HeadPart)):
        rows = [r for r, site in enumerate(sites) if site.part == part]
        if rows and part in ("q", "pattern"):
            jobs.append(job(rows, groups, mixed_heads(model, out_of, into=into, part=part)))
        elif rows:
            jobs += [
                job(rows, [g], mixed_heads(model, out_of, into=into, part=part, where=places.masks[g])) for g in groups
            ]
    return jobs


def _where(model: HookedModel, part: Part, mask: Bool[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt pos"]:
    return mask if part in WHOLE else reads(cast(HeadPart, part), mask, is_causal=model.is_causal)


def _shard_key(key: str, base: Base, job: _Job, sites: Sequence[PatchSite], places: PatchPlaces) -> str:
    masks = places.masks[torch.tensor(job.groups)].contiguous()
    rows = [str(sites[r]) for r in job.sites]
    return digest({"sweep": key, "base": base, "rows": rows, "masks": sha256(masks.numpy().tobytes()).hexdigest()})
