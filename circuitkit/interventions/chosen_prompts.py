"""Sweeps of some of a batch's prompts, with the replacement values of the whole batch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from jaxtyping import Int
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import replace_components
from circuitkit.interventions.replacement import Replacement, Values
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.interventions.sweep import Sweep
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock


def sweep_prompts(
    model: HookedModel,
    batch: PromptBatch,
    prompts: Int[Tensor, " chosen"],
    *,
    components: Sequence[Component],
    source: Replacement,
    batch_size: BatchSize = "auto",
    store: ShardStore | None = None,
    stage: str = "sweep",
    progress: Progress = silent,
) -> Sweep:
    """Ablate components one at a time, exactly, on chosen prompts.

    Means belong to a whole batch: a batch of the chosen prompts alone would have others.

    Args:
        model: The model.
        batch: The whole batch.
        prompts: Places of the chosen prompts in it; results follow this order.
        components: Which components to ablate.
        source: What replaces an activation, by place in the whole batch.
        batch_size: Rows (component x prompt) run at a time.
        store: Where finished shards are kept and found again.
        stage: Name of this work in progress reports.
        progress: Called as components are done; units are block evaluations.

    Raises:
        OptionError: The batch size is not positive, or memory is short.
        ModelError: Logits are not finite.
    """

    def values(rows: Int[Tensor, " row"], length: int) -> Values:
        return source(prompts[rows], length)

    runs = run_interventions(
        model,
        chosen_prompts(batch, prompts),
        [replace_components(component) for component in components],
        source=values,
        batch_size=batch_size,
        store=store,
        stage=stage,
        progress=progress,
    )
    return Sweep(components=tuple(components), clean=runs.clean, ablated=runs.changed)


def when_needed(prepare: Callable[[], Replacement]) -> Replacement:
    """A replacement that is prepared once, when values are first asked for: never, where all shards are found."""
    prepared = cache(prepare)

    def values(rows: Int[Tensor, " row"], length: int) -> Values:
        return prepared()(rows, length)

    return values


def chosen_prompts(batch: PromptBatch, prompts: Int[Tensor, " chosen"]) -> PromptBatch:
    """Some prompts of a batch, by their places in it, in the order that is given."""
    places = prompts.tolist()
    return replace(
        batch,
        pairs=tuple(batch.pairs[i] for i in places),
        prompt_index=tuple(batch.prompt_index[i] for i in places),
        clean=_rows_of(batch.clean, prompts),
        corrupted=None if batch.corrupted is None else _rows_of(batch.corrupted, prompts),
        correct_ids=batch.correct_ids[prompts],
        incorrect_ids=batch.incorrect_ids[prompts],
        group=batch.group[prompts],
        label_positions={label: positions[prompts] for label, positions in batch.label_positions.items()},
        label_starts={label: positions[prompts] for label, positions in batch.label_starts.items()},
        counterfactuals={kind: _rows_of(block, prompts) for kind, block in batch.counterfactuals.items()},
    )


def _rows_of(block: TokenBlock, prompts: Int[Tensor, " chosen"]) -> TokenBlock:
    return TokenBlock(
        ids=block.ids[prompts],
        mask=block.mask[prompts],
        answer_pos=block.answer_pos[prompts],
        words=block.words[prompts],
    )
