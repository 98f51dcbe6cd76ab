"""The logit lens: what the model would answer if it stopped behind a block."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.rows import shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

PROMPTS_AT_A_TIME = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogitLens:
    """The answer read behind every block; stages are `embed`, `block0`, ... and the last is the model itself.

    Attributes:
        stages: Where the stream was read.
        logit_diff: Correct minus incorrect answer, in logits.
        rank: Tokens of the vocabulary above the correct answer: 0 where it is the top one.
        other_rank: The same of another prompt's answer (the next prompt with a different one): how high up answers
            of this task stand, whatever the prompt; None where all prompts have one answer.
        top: The most probable token.
        top_words: By stage, the commonest top tokens as text and in how many prompts they are on top.
        additive: False in post-LN models, whose streams pass a norm in every block: what is unembedded there was
            never meant to be read by the head.
    """

    stages: tuple[str, ...]
    logit_diff: Float[Tensor, "stage prompt"]
    rank: Int[Tensor, "stage prompt"]
    other_rank: Int[Tensor, "stage prompt"] | None
    top: Int[Tensor, "stage prompt"]
    top_words: tuple[tuple[tuple[str, int], ...], ...]
    additive: bool

    def to_dict(self) -> dict[str, Any]:
        """Means over prompts by stage, as JSON."""
        return {
            "additive": self.additive,
            "stages": [
                {
                    "stage": name,
                    "logit_diff": self.logit_diff[i].double().mean().item(),
                    "median_rank": self.rank[i].median().item(),
                    "median_other_rank": None if self.other_rank is None else self.other_rank[i].median().item(),
                    "top1": (self.rank[i] == 0).double().mean().item(),
                    "top_words": [{"text": text, "n_prompts": n} for text, n in self.top_words[i]],
                }
                for i, name in enumerate(self.stages)
            ],
        }


@torch.no_grad()
def logit_lens(
    model: HookedModel,
    batch: PromptBatch,
    *,
    batch_size: int = PROMPTS_AT_A_TIME,
    n_words: int = 3,
    progress: Progress = silent,
) -> LogitLens:
    """Unembed the residual stream at the answer position behind every block of the clean prompts.

    The final norm and the language-model head are applied to each stream as they are to the last one
    (nostalgebraist 2020; Distilled Circuits, App. J).

    Args:
        model: The model.
        batch: The prompts.
        batch_size: Prompts run at a time.
        n_words: Commonest top tokens that are kept as text.
        progress: Called as prompts are done.

    Raises:
        OptionError: The batch size is not positive.
    """
    if batch_size < 1:
        raise OptionError(f"Batch size {batch_size} is not positive; give a number from 1 up.")
    n_layers, n_prompts = model.info.n_layers, len(batch.pairs)
    diff = torch.zeros(n_layers + 1, n_prompts)
    rank, other_rank, top = (torch.zeros(n_layers + 1, n_prompts, dtype=torch.long) for _ in range(3))
    others, done = _other_answers(batch.correct_ids), 0
    for rows in shards(batch, batch_size):
        for stage, logits in enumerate(_stage_logits(model, batch, rows)):
            own = torch.arange(len(rows))
            correct = logits[own, batch.correct_ids[rows]]
            diff[stage, rows] = correct - logits[own, batch.incorrect_ids[rows]]
            rank[stage, rows] = (logits > correct[:, None]).sum(1)
            if others is not None:
                other_rank[stage, rows] = (logits > logits[own, others[rows]][:, None]).sum(1)
            top[stage, rows] = logits.argmax(1)
        done += len(rows)
        progress("logit lens", done, n_prompts)
    return LogitLens(
        stages=("embed", *(f"block{layer}" for layer in range(n_layers))),
        logit_diff=diff,
        rank=rank,
        other_rank=None if others is None else other_rank,
        top=top,
        top_words=tuple(_commonest(model, stage, n_words) for stage in top),
        additive=model.family.pre_norm,
    )


def _stage_logits(
    model: HookedModel, batch: PromptBatch, rows: Int[Tensor, " row"]
) -> Sequence[Float[Tensor, "row vocab"]]:
    taken = take(batch.clean, rows, model)
    found = model.capture(taken.ids, taken.mask, ("resid_pre", "resid_post"))
    streams = [found["resid_pre"][0], *(found["resid_post"][layer] for layer in range(model.info.n_layers))]
    own = torch.arange(len(rows), device=taken.answer_pos.device)
    return [
        model.family.unembed(model.raw, stream[own.to(stream.device), taken.answer_pos.to(stream.device)]).float().cpu()
        for stream in streams
    ]


def _other_answers(correct: Int[Tensor, " prompt"]) -> Int[Tensor, " prompt"] | None:
    """For each prompt the answer of the next one, in a circle, whose answer is another."""
    ids, found = correct.tolist(), list[int]()
    if len(set(ids)) < 2:
        return None
    for start, own in enumerate(ids):
        found.append(next(other for other in (*ids[start + 1 :], *ids[:start]) if other != own))
    return torch.tensor(found)


def _commonest(model: HookedModel, top: Int[Tensor, " prompt"], n_words: int) -> tuple[tuple[str, int], ...]:
    tokens, counts = top.unique(return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:n_words]
    return tuple((cast(str, model.tokenizer.decode([int(tokens[i])])), int(counts[i])) for i in order)
