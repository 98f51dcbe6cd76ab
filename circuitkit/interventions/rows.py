"""Rows of a prompt batch as tensors on the model's device, without padding that no row needs."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Some prompts of a batch, on the model's device.

    Attributes:
        ids: Token ids.
        mask: True at tokens, False at padding (on the right).
        answer_pos: Position whose logits answer the prompt.
    """

    ids: Int[Tensor, "row pos"]
    mask: Bool[Tensor, "row pos"]
    answer_pos: Int[Tensor, " row"]


def take(block: TokenBlock, rows: Int[Tensor, " row"], model: HookedModel) -> Rows:
    """Pick rows of a token block and cut them to their longest prompt."""
    mask = block.mask[rows]
    length = int(mask.sum(1).max())
    return Rows(
        ids=block.ids[rows, :length].to(model.device),
        mask=mask[:, :length].to(model.device),
        answer_pos=block.answer_pos[rows].to(model.device),
    )


def shards(batch: PromptBatch, size: int) -> list[Int[Tensor, " row"]]:
    """Split the prompts into runs of at most `size`, prompts of one length and group together."""
    lengths = batch.clean.mask.sum(1)
    order = sorted(range(len(batch.pairs)), key=lambda i: (int(lengths[i]), int(batch.group[i]), i))
    return [torch.tensor(order[start : start + size]) for start in range(0, len(order), size)]


def logit_diff(
    logits: Float[Tensor, "*unit row vocab"], correct: Int[Tensor, " row"], incorrect: Int[Tensor, " row"]
) -> Float[Tensor, "*unit row"]:
    """Logit of the correct answer minus that of the incorrect one, per prompt (Distilled Circuits, Eq. 3)."""
    row = torch.arange(logits.shape[-2], device=logits.device)
    wanted = logits[..., row, correct.to(logits.device)].float()
    return wanted - logits[..., row, incorrect.to(logits.device)].float()


def clean_logit_diff(model: HookedModel, batch: PromptBatch, *, batch_size: int = 64) -> Float[Tensor, " prompt"]:
    """Logit difference of every prompt on the intact model, in logits."""
    out = torch.zeros(len(batch.pairs))
    for rows in shards(batch, batch_size):
        taken = take(batch.clean, rows, model)
        logits = model.answer_logits(taken.ids, taken.mask, taken.answer_pos)
        out[rows] = logit_diff(logits, batch.correct_ids[rows], batch.incorrect_ids[rows]).cpu()
    return out
