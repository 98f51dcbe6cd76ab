"""Does a head's reading matter: its pattern or its values from the corrupted prompt, only where the role reads."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.path_patch import path_patch
from circuitkit.interventions.clean_run import run_clean
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import replace_components
from circuitkit.interventions.replacement import Replacement, Values
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.interventions.rows import take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles.head_reads import HeadReads, head_reads, mix
from circuitkit.roles.places import Places
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock

_Mix = Callable[[HeadReads, HeadReads, Bool[Tensor, "row query key"]], Float[Tensor, "row query head d_head"]]


def qk_effects(
    model: HookedModel,
    batch: PromptBatch,
    places: Places,
    heads: Sequence[Component],
    *,
    batch_size: BatchSize = "auto",
    store: ShardStore | None = None,
    progress: Progress = silent,
) -> Float[Tensor, "head prompt"]:
    """How much where a head looks helps: its z at the role's queries is the corrupted pattern times the clean values.

    Activation patching (Wang et al. 2023, section 3) of one head's QK circuit (Elhage et al. 2021), at the positions
    where the role reads and nowhere else. Exact.

    Args:
        model: The model.
        batch: Prompts with corrupted partners of the same lengths.
        places: Where the role reads in the clean prompts.
        heads: The heads asked for; results keep their order.
        batch_size: Rows (head x prompt) run at a time.
        store: Where finished shards are kept and found again.
        progress: Called as shards advance.

    Returns:
        Fall of the logit difference, in logits; positive: the head's reading helps. 0 for prompts without the role.

    Raises:
        OptionError: There are no corrupted prompts, or they have other lengths; a component is no head of the model;
            memory is short for one row.
    """
    where = _Where(model, batch, places, heads)
    return where.effects(_other_pattern, "qk", batch_size, store, progress)


def ov_effects(
    model: HookedModel,
    batch: PromptBatch,
    places: Places,
    heads: Sequence[Component],
    *,
    batch_size: BatchSize = "auto",
    store: ShardStore | None = None,
    progress: Progress = silent,
) -> Float[Tensor, "head prompt"]:
    """How much what a head fetches helps: at the role's queries, the values of the role's keys are the corrupted ones.

    The pattern stays clean, and so do the values of all other keys. Arguments, result and errors are those of
    `qk_effects`.
    """
    where = _Where(model, batch, places, heads)
    return where.effects(_other_values, "ov", batch_size, store, progress)


def direct_ov_effects(
    model: HookedModel,
    batch: PromptBatch,
    places: Places,
    heads: Sequence[Component],
    *,
    batch_size: BatchSize = "auto",
    store: ShardStore | None = None,
    progress: Progress = silent,
) -> Float[Tensor, "head prompt"]:
    """How much of `ov_effects` at the answer position goes by the direct path: all later components stay clean.

    Path patching (Goldowsky-Dill et al. 2023, arXiv:2304.05969) from the head to the logits, the MLP of its own block
    among what stays clean. In post-LN models later norms are applied anew, so that there too it is exact. Arguments,
    result and errors are those of `ov_effects`.
    """
    where = _Where(model, batch, places, heads)
    at_answer = places.queries[torch.arange(len(batch.pairs)), batch.clean.answer_pos] & places.defined
    found = path_patch(
        model,
        batch,
        [str(head) for head in heads],
        ["logits"],
        ablation=where.replacement(_other_values),
        batch_size=batch_size,
        store=store,
        progress=progress,
    )
    return torch.where(at_answer, found.effects[0], 0)


def _other_pattern(
    clean: HeadReads, corrupted: HeadReads, keys: Bool[Tensor, "row query key"]
) -> Float[Tensor, "row query head d_head"]:
    return mix(corrupted.pattern, clean.values)


def _other_values(
    clean: HeadReads, corrupted: HeadReads, keys: Bool[Tensor, "row query key"]
) -> Float[Tensor, "row query head d_head"]:
    at_keys = clean.pattern * keys[:, None].to(clean.pattern)
    return clean.z + mix(at_keys, corrupted.values - clean.values)


class _Where:
    """One role's places in prompts that have partners to patch from.

    Args:
        model: The model.
        batch: The prompts.
        places: Where the role reads.
        heads: The heads asked for.
    """

    def __init__(self, model: HookedModel, batch: PromptBatch, places: Places, heads: Sequence[Component]) -> None:
        if batch.corrupted is None:
            raise OptionError(
                f"Task {batch.task.name!r} has no corrupted prompts, so nothing can be patched into a head; give them."
            )
        if not batch.positional:
            raise OptionError(
                f"Corrupted prompts of task {batch.task.name!r} have other lengths than the clean ones, so a pattern "
                "of one does not fit the other; give corrupted prompts of the same number of tokens."
            )
        if others := [head for head in heads if head.head is None]:
            raise OptionError(f"{others[0]} has no pattern and no values; name heads, such as L0H0.")
        self.model, self.batch, self.places, self.heads = model, batch, places, heads
        self.corrupted = batch.corrupted

    def effects(
        self, mixed: _Mix, stage: str, batch_size: BatchSize, store: ShardStore | None, progress: Progress
    ) -> Float[Tensor, "head prompt"]:
        """Fall of the logit difference with each head's z mixed so at the role's queries."""
        where = self.places.queries & self.places.defined[:, None]
        runs = run_interventions(
            self.model,
            self.batch,
            [replace_components(head, where=where) for head in self.heads],
            source=self.replacement(mixed),
            batch_size=batch_size,
            store=store,
            stage=stage,
            progress=progress,
        )
        return torch.where(where.any(1), runs.clean - runs.changed, 0)

    def replacement(self, mixed: _Mix) -> Replacement:
        """Every head's z, mixed so."""
        model = self.model

        def values(rows: Int[Tensor, " row"], length: int) -> Values:
            clean, corrupted = _Side(model, self.batch.clean, rows), _Side(model, self.corrupted, rows)
            keys = self.places.keys[rows, :length, :length].to(model.device)

            @lru_cache(maxsize=1)
            def z(layer: int) -> Float[Tensor, "row pos head d_head"]:
                here, there = clean.reads(layer), corrupted.reads(layer)
                return mixed(here, there, keys.to(here.pattern.device)).to(model.dtype)

            nothing = torch.zeros(1, 1, model.info.d_model, device=model.device, dtype=model.dtype)
            return Values(z=z, mlp=lambda layer: nothing, embed=nothing)

        return values


class _Side:
    """Some clean or corrupted prompts, of which the streams are kept and patterns made block by block.

    Args:
        model: The model.
        block: The prompts.
        rows: Which of them.
    """

    def __init__(self, model: HookedModel, block: TokenBlock, rows: Int[Tensor, " row"]) -> None:
        self.model, self.rows = model, take(block, rows, model)
        self.hidden = run_clean(model, self.rows).hidden

    def reads(self, layer: int) -> HeadReads:
        """Patterns and values of one block."""
        return head_reads(self.model, self.rows, layer, self.hidden[layer])
