"""Activation patching: which place of a model carries what tells the clean prompt from its corrupted partner."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.core.seeds import check_seed
from circuitkit.discovery.influence import about_precision
from circuitkit.interventions.row_budget import BatchSize, RowBudget
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.precision import dtype_name
from circuitkit.probes.logit_lens import logit_lens
from circuitkit.probes.patch_runs import run_patches
from circuitkit.probes.patch_sites import default_parts, parse_parts, patch_sites
from circuitkit.probes.patching_map import Direction, PatchingMap, PatchRow
from circuitkit.probes.places import Positions, patch_places
from circuitkit.tasks.batch import PromptBatch, build_batch
from circuitkit.tasks.describe import describe_task
from circuitkit.tasks.task import Task


def activation_patching(
    model: HookedModel,
    task: Task | PromptBatch,
    *,
    parts: Sequence[str] | None = None,
    direction: Direction | str = "denoise",
    positions: Positions | str = "labels",
    components: Sequence[Component | str] | None = None,
    n_prompts: int = 64,
    bootstrap: int = 1000,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    resume: Path | None = None,
    command: str | None = None,
    progress: Progress = silent,
) -> PatchingMap:
    """Patch every part of a model at every position, each in a run of its own, exactly.

    (Meng et al. 2022, arXiv 2202.05262; Wang et al. 2023, arXiv 2211.00593; directions after Heimersheim & Nanda 2024,
    arXiv 2404.15255; Distilled Circuits, App. J.)

    Args:
        model: The model.
        task: A task, of whose prompts those are left out and listed whose corrupted partner has another number of
            tokens; or a batch of prompts already built for this model.
        parts: Any of `block` (the residual stream behind each block, and before the first), `head` (a head's whole
            write; `z` means the same), `mlp`, and of a head `q`, `k`, `v` or `pattern`. A query or a row of the pattern
            is patched where it reads; a key or a value where it is read, for all positions that read it.
            None: `block`, and `head` and `mlp` as far as the components have any.
        direction: `denoise` patches clean activations into corrupted prompts and measures what they restore; `noise`
            the reverse, and measures what is lost.
        positions: `labels` groups the tokens by the task's labels; `tokens` takes each by itself.
        components: Heads and MLPs to patch; all if not given. Blocks do not depend on it.
        n_prompts: Prompts to draw from the task.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of prompts and bootstrap.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards are kept and looked for.
        command: The command line that asked for this, kept with the result.
        progress: Called as the work advances; units are block evaluations.

    Raises:
        TaskError: Too few prompts can be used.
        OptionError: An option is unknown or out of range, nothing is left to patch, or the task has no corrupted
            prompts with tokens at the same positions.
        ModelError: Logits are not finite.
    """
    direction, seed, chosen = (
        _direction(direction),
        check_seed(seed),
        default_parts(components) if parts is None else parse_parts(parts),
    )
    if bootstrap < 0:
        raise OptionError(f"{bootstrap} bootstrap draws were asked for; give 0 for no intervals, or a positive number.")
    RowBudget(model, batch_size)  # a size that is not positive is refused before anything runs
    sites = patch_sites(model, chosen, components)
    batch = (
        task
        if isinstance(task, PromptBatch)
        else build_batch(task, model, n_prompts=n_prompts, seed=seed, least_even=1, progress=progress)
    )
    places = patch_places(model, batch, positions)
    made_with = provenance(device=str(model.device), dtype=dtype_name(model.dtype), command=command)
    made = run_patches(
        model,
        batch,
        sites,
        places,
        base="corrupted" if direction == "denoise" else "clean",
        batch_size=batch_size,
        resume=resume,
        versions=made_with["versions"],
        progress=progress,
    )
    clean, corrupted = (made.partners, made.base) if direction == "denoise" else (made.base, made.partners)
    return PatchingMap(
        model=model.info,
        task=describe_task(batch),
        rows=tuple(PatchRow(name=str(site), part=site.part, layer=site.site.layer) for site in sites),
        positions=places.names,
        defined=places.defined,
        direction=direction,
        clean=clean,
        corrupted=corrupted,
        patched=made.changed,
        lens=logit_lens(
            model, batch, batch_size=32 if batch_size == "auto" else min(32, batch_size), progress=progress
        ),
        n_draws=bootstrap,
        settings={
            "n_prompts": n_prompts,
            "parts": list(chosen),
            "direction": direction,
            "positions": positions,
            "components": None if components is None else [str(c) for c in components],
            "bootstrap": bootstrap,
            "seed": seed,
            "batch_size": batch_size,
            "data": task.data if isinstance(task, Task) else None,
        },
        made_with=made_with,
        notices=(
            *_about_tokens(batch, positions),
            *(notice for notice in batch.notices if notice not in batch.about_means),  # no means replace anything here
            *about_precision(model),
        ),
    )


def _direction(direction: str) -> Direction:
    if direction not in get_args(Direction):
        raise OptionError(f"Direction {direction!r} unknown; choose one of {', '.join(get_args(Direction))}.")
    return cast(Direction, direction)


def _about_tokens(batch: PromptBatch, positions: str) -> tuple[str, ...]:
    """What positions mean where prompts differ in form."""
    if positions != "tokens" or int(batch.group.max()) == 0:
        return ()
    return (
        f"The prompts are of {int(batch.group.max()) + 1} forms or lengths, in which the same position holds different "
        "words; each position is averaged over the prompts that reach it. --positions labels groups them by meaning.",
    )
