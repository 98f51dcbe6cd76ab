"""Where every head of a model attends on a task: from END to the labels, and on average over alike prompts."""

from collections import Counter
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.alignment.settings import BatchSize
from circuitkit.alignment.stream import row_chunks
from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.rows import take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

END = "END"
VARIES = "·"
"""Stands for a token that differs from prompt to prompt and has no label."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionReadings:
    """Attention of all heads of a model on the clean prompts; heads layer by layer.

    Attributes:
        labels: Labels of the task, END last.
        to_labels: Attention that the answer position pays to the last token of each label, 0 to 1.
        uniform: What it would pay to any one token if it read all it can read alike, 0 to 1.
        tokens: Tokens of the prompts over which patterns are averaged, where those all have the same.
        mean_pattern: Mean attention over these prompts.
        n_averaged: How many prompts these are: the largest group of one template and length.
    """

    labels: tuple[str, ...]
    to_labels: Float[Tensor, "head label prompt"]
    uniform: Float[Tensor, " prompt"]
    tokens: tuple[str, ...]
    mean_pattern: Float[Tensor, "head query key"]
    n_averaged: int


def read_attention(
    model: HookedModel,
    batch: PromptBatch,
    *,
    batch_size: BatchSize = "auto",
    stage: str = "attention",
    progress: Progress = silent,
) -> AttentionReadings:
    """Run the clean prompts once, a few at a time, and keep what is named above.

    Args:
        model: The model.
        batch: Its prompts.
        batch_size: Prompts run at a time, at most.
        stage: Name of this work in progress reports.
        progress: Called as prompts are done.
    """
    labels = (*(name for name in batch.label_positions if name != END), END)
    where = torch.stack([batch.label_positions.get(name, batch.clean.answer_pos) for name in labels])
    alike = _largest_group(batch)
    length = int(batch.clean.mask[alike[0]].sum())
    n_heads = model.info.n_layers * model.info.n_heads
    to_labels = torch.zeros(n_heads, len(labels), len(batch.pairs))
    total = torch.zeros(n_heads, length, length, dtype=torch.float64)
    in_group = torch.zeros(len(batch.pairs), dtype=torch.bool).index_fill_(0, alike, True)
    for rows in row_chunks(model, batch, batch_size=batch_size):
        taken = take(batch.clean, rows, model)
        found = model.capture(taken.ids, taken.mask, ["pattern"])["pattern"]
        patterns = torch.cat([rearrange(found[layer], "row head q k -> head row q k").cpu() for layer in sorted(found)])
        row = torch.arange(len(rows))
        end = batch.clean.answer_pos[rows]
        for i, positions in enumerate(where[:, rows]):
            to_labels[:, i, rows] = patterns[:, row, end, positions].float()
        total += patterns[:, in_group[rows], :length, :length].double().sum(1)
        progress(stage, int(rows[-1]) + 1, len(batch.pairs))
    read = batch.clean.answer_pos + 1 if model.is_causal else batch.clean.mask.sum(1)
    return AttentionReadings(
        labels=labels,
        to_labels=to_labels,
        uniform=1 / read.float(),
        tokens=_tokens(model, batch, alike, length),
        mean_pattern=(total / len(alike)).float(),
        n_averaged=len(alike),
    )


def _largest_group(batch: PromptBatch) -> Int[Tensor, " chosen"]:
    """Prompts of the commonest template and length; of equally common ones the first."""
    lengths = batch.clean.mask.sum(1).tolist()
    keys = list(zip((pair.template for pair in batch.pairs), lengths, strict=True))
    ((most, _),) = Counter(keys).most_common(1)
    return torch.tensor([i for i, key in enumerate(keys) if key == most])


def _tokens(model: HookedModel, batch: PromptBatch, alike: Int[Tensor, " chosen"], length: int) -> tuple[str, ...]:
    """What stands at each position: the token if it is always the same, else a label, else a dot."""
    ids = batch.clean.ids[alike, :length]
    named = {
        int(at[alike][0]): name for name, at in batch.label_positions.items() if bool((at[alike] == at[alike][0]).all())
    }
    out: list[str] = []
    for position in range(length):
        column = ids[:, position]
        if bool((column == column[0]).all()):
            text = str(model.tokenizer.decode([int(column[0])]))
        else:
            text = named.get(position, VARIES)
        out.append(f"{position} {text.strip() or repr(text)}")
    return tuple(out)
