"""Where heads look among the labels of a task, and how their queries and keys fit: data for maps, label by label."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.clean_run import run_clean
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.interventions.rows import shards, take
from circuitkit.models.attention import allowed
from circuitkit.models.hooked_model import HookedModel
from circuitkit.probes.projected import attention_scores, projected
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock

Side = Literal["clean", "corrupted"]
PROMPTS_AT_A_TIME = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelMaps:
    """Attention of every head between the labels of a task, at the last token of each.

    Attributes:
        components: The heads.
        labels: The labels, by mean position.
        pattern: Mean attention (a probability) from the label that reads to the label that is read.
        scores: Mean score before the softmax, in nats: q . k times the scaling, rotated where the family rotates.
        readable: Share of prompts in which a label may read another; where it never may, both are 0.
        kept: The heads whose values are kept prompt by prompt.
        each_pattern: Their attention; not a number where the label may not be read.
        each_score: Their scores, likewise.
    """

    components: tuple[Component, ...]
    labels: tuple[str, ...]
    pattern: Float[Tensor, "head query key"]
    scores: Float[Tensor, "head query key"]
    readable: Float[Tensor, "query key"]
    kept: tuple[Component, ...]
    each_pattern: Float[Tensor, "kept query key prompt"]
    each_score: Float[Tensor, "kept query key prompt"]

    def to_dict(self) -> dict[str, Any]:
        """The means, as JSON; heads by name."""
        return {
            "labels": list(self.labels),
            "readable": self.readable.tolist(),
            "heads": {
                str(component): {"attention": self.pattern[i].tolist(), "score": self.scores[i].tolist()}
                for i, component in enumerate(self.components)
            },
        }

    def frame(self) -> pd.DataFrame:
        """One row a head and pair of labels that can be read, the strongest attention first."""
        rows = [
            {
                "component": str(component),
                "query": query,
                "key": key,
                "attention": self.pattern[i, a, b].item(),
                "score": self.scores[i, a, b].item(),
            }
            for i, component in enumerate(self.components)
            for a, query in enumerate(self.labels)
            for b, key in enumerate(self.labels)
            if self.readable[a, b] > 0
        ]
        return pd.DataFrame(rows).sort_values("attention", ascending=False, ignore_index=True)


def label_maps(
    model: HookedModel,
    batch: PromptBatch,
    *,
    side: Side | str = "clean",
    keep: Collection[Component] = (),
    batch_size: BatchSize = "auto",
    progress: Progress = silent,
) -> LabelMaps:
    """Mean attention patterns and QK scores of every head between the task's labels.

    Scores are those of the streams that the heads really read (Distilled Circuits, App. J: QK matrices); means are
    over the prompts in which the one label may read the other. Causal models read backwards only.

    Args:
        model: The model.
        batch: The prompts.
        side: `clean` or `corrupted` prompts; labels are at the same positions in both.
        keep: Heads of which every prompt is kept too.
        batch_size: Prompts run at a time, at most.
        progress: Called as prompts are done.

    Raises:
        OptionError: The prompts share no labels, there is no such side, it has no prompts, or there is no such head.
    """
    block, kept = _block(batch, side), _heads(model, keep)
    labels = sorted(batch.label_positions, key=lambda name: batch.label_positions[name].double().mean().item())
    at = torch.stack([batch.label_positions[name] for name in labels], 1)
    shape = (model.info.n_layers, model.info.n_heads, len(labels), len(labels))
    pattern, scores = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    may, done = torch.zeros(shape[2:], dtype=torch.float64), 0
    each_pattern, each_score = (torch.full((len(kept), *shape[2:], len(batch.pairs)), torch.nan) for _ in range(2))
    for rows in shards(batch, PROMPTS_AT_A_TIME if batch_size == "auto" else batch_size):
        taken = take(block, rows, model)
        streams = run_clean(model, taken).hidden
        mask = allowed(taken.mask, is_causal=model.is_causal, first_query=0)
        open_ = _readable(at[rows], is_causal=model.is_causal)
        may += open_.sum(0).double()
        rotary = model.family.rotary(model.raw, taken.ids)
        for layer, hidden in streams.items():
            queries, keys, _ = projected(model, layer, hidden, rotary)
            scaling = model.family.scaling(model.family.blocks(model.raw)[layer])
            found = attention_scores(queries, keys, d_head=model.info.d_head, scaling=scaling)
            seen = (found if mask is None else found.masked_fill(~mask, float("-inf"))).softmax(-1)
            for total, each, values in ((pattern, each_pattern, seen), (scores, each_score, found)):
                between = _between(values.float().cpu(), at[rows])
                total[layer] += (between.double() * open_[:, None]).sum(0)
                for i, component in enumerate(kept):
                    if component.layer == layer and component.head is not None:
                        own = between[:, component.head].masked_fill(~open_, torch.nan)
                        each[i, :, :, rows] = rearrange(own, "row query key -> query key row")
        done += len(rows)
        progress("attention", done, len(batch.pairs))
    counts = may.clamp(min=1)
    return LabelMaps(
        components=_heads(model),
        labels=tuple(labels),
        pattern=(pattern / counts).flatten(0, 1).float(),
        scores=(scores / counts).flatten(0, 1).float(),
        readable=(may / len(batch.pairs)).float(),
        kept=kept,
        each_pattern=each_pattern,
        each_score=each_score,
    )


def _block(batch: PromptBatch, side: Side | str) -> TokenBlock:
    if side not in ("clean", "corrupted"):
        raise OptionError(f"Side {side!r} unknown; choose clean or corrupted.")
    block = batch.clean if side == "clean" else batch.corrupted
    if block is None or (side == "corrupted" and not batch.positional):
        raise OptionError(f"Task {batch.task.name!r} has no corrupted prompts with labels in their places; use clean.")
    if not batch.label_positions:
        raise OptionError(f"The prompts of task {batch.task.name!r} share no labels; label the words to look at.")
    return block


def _heads(model: HookedModel, only: Collection[Component] | None = None) -> tuple[Component, ...]:
    """All heads of a model, or those of them that are asked for."""
    heads = tuple(c for c in model.components if c.kind == "head")
    if only is None:
        return heads
    if foreign := [component for component in only if component not in heads]:
        raise OptionError(f"{foreign[0]} is no head of {model.info.name!r}; give one such as {heads[0]}.")
    return tuple(component for component in heads if component in only)


def token_scores(model: HookedModel, head: Component, words: Sequence[str]) -> Float[Tensor, "query key"]:
    """How well a head's query of one word fits its key of another, both as the embedding gives them, in nats.

    W_Q W_K^T between embeddings (Elhage et al. 2021, "QK circuit"): what the blocks before add is left out, and every
    word stands at the first position, so that neither positions nor rotation tell them apart.

    Args:
        model: The model.
        head: The head.
        words: Words, each a single token, with their leading space where the tokenizer keeps it (" Mary").

    Raises:
        OptionError: The component is no head of this model, or a word is not a single token.
    """
    _heads(model, (head,))
    return _word_scores(model, words, head.layer)[head.head or 0]


def all_token_scores(model: HookedModel, words: Sequence[str]) -> Float[Tensor, "head query key"]:
    """What `token_scores` gives of every head, layer by layer.

    Raises:
        OptionError: A word is not a single token.
    """
    return torch.cat([_word_scores(model, words, layer) for layer in range(model.info.n_layers)])


@torch.no_grad()
def _word_scores(model: HookedModel, words: Sequence[str], layer: int) -> Float[Tensor, "head query key"]:
    ids = torch.tensor([_single(model, word) for word in words], device=model.device)
    read = model.family.embed(model.raw, ids[:, None])[None, :, 0]
    queries, keys, _ = projected(model, layer, read, None)
    scaling = model.family.scaling(model.family.blocks(model.raw)[layer])
    return attention_scores(queries, keys, d_head=model.info.d_head, scaling=scaling)[0].float().cpu()


def _single(model: HookedModel, word: str) -> int:
    ids = model.tokenizer(word, add_special_tokens=False)["input_ids"]
    if not isinstance(ids, list) or len(ids) != 1:
        raise OptionError(f"{word!r} is not a single token for {model.info.name!r}; give words that are.")
    return int(ids[0])


def _readable(at: Int[Tensor, "row label"], *, is_causal: bool) -> Bool[Tensor, "row query key"]:
    later = at[:, :, None] >= at[:, None]
    return later if is_causal else torch.ones_like(later)


def _between(values: Float[Tensor, "row head query key"], at: Int[Tensor, "row label"]) -> Tensor:
    """Values at the labels' positions: [row, head, label, label]."""
    row = torch.arange(len(at))[:, None, None]
    return rearrange(values[row, :, at[:, :, None], at[:, None]], "row query key head -> row head query key")
