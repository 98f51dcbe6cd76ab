"""Training that reads logits at the answers only, which makes a step of a small model several times cheaper."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from circuitkit.experiments.battery.corpus import Lessons
from circuitkit.experiments.battery.layout import family_of
from circuitkit.experiments.embedded.encoding import Row, collate
from circuitkit.experiments.embedded.losses import label_loss, logit_loss

_POOL = 4  # batches whose rows are sorted by length before they are cut apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How long and how fast a student is trained: AdamW, linear warm-up, cosine to 0, gradients clipped to 1.

    Attributes:
        steps: Optimiser steps.
        few_words: How many of them, at the beginning, see the rows of few words.
        learning_rate: Its peak.
        warmup: Steps of warm-up.
        weight_decay: Of AdamW.
        batch_size: Rows a step.
        temperature: Of a distillation.
    """

    steps: int
    few_words: int = 0
    learning_rate: float = 3e-3
    warmup: int = 30
    weight_decay: float = 0.1
    batch_size: int = 64
    temperature: float = 2.0


def fit(
    model: PreTrainedModel,
    lessons: Lessons,
    course: Course,
    *,
    pad: int,
    seed: int,
    teacher: PreTrainedModel | None = None,
    after_step: Callable[[], None] | None = None,
) -> list[float]:
    """Train a model in place on the answers of rows, or on a teacher's logits there.

    Args:
        model: The model.
        lessons: The rows.
        course: How long and how fast.
        pad: Id of the padding token.
        seed: Seed of the order of rows.
        teacher: Whose logits to learn; the labels are not used then. Without it the labels are.
        after_step: Called after every step, to keep something as it is.

    Returns:
        The loss (nats an answer) of every step.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=course.learning_rate, betas=(0.9, 0.98), weight_decay=course.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, course))
    losses: list[float] = []
    model.train()
    for batch in _batches(lessons, course, pad=pad, seed=seed):
        loss = _loss(model, batch, teacher=teacher, temperature=course.temperature)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if after_step is not None:
            after_step()
        losses.append(loss.item())
    model.eval()
    return losses


def _rate(step: int, course: Course) -> float:
    return min(1.0, (step + 1) / course.warmup) * 0.5 * (1 + math.cos(math.pi * step / course.steps))


def _loss(
    model: PreTrainedModel, batch: dict[str, Tensor], *, teacher: PreTrainedModel | None, temperature: float
) -> Float[Tensor, ""]:
    weights, labels = batch["weights"], batch["labels"]
    used = weights > 0
    given, counted = _logits(model, batch), rearrange(weights[used], "token -> 1 token")
    if teacher is None:
        return label_loss(given, rearrange(labels[used], "token -> 1 token"), counted)
    with torch.no_grad():
        wanted = _logits(teacher, batch)
    return logit_loss(given, wanted, counted, temperature=temperature)


def _logits(model: PreTrainedModel, batch: dict[str, Tensor]) -> Float[Tensor, "1 token vocab"]:
    """Logits where the batch has weights, as one row."""
    family = family_of(model)
    hidden = family.hidden(model, batch["input_ids"], batch["attention_mask"])
    return rearrange(family.head(model, hidden[batch["weights"] > 0]), "token vocab -> 1 token vocab")


def _batches(lessons: Lessons, course: Course, *, pad: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """As many batches as there are steps, each of rows of like length."""
    rng = Random(f"battery order/{seed}")
    few = _parts(lessons.first, course.batch_size, rng)
    every = _parts(lessons.all, course.batch_size, rng)
    for step in range(course.steps):
        yield collate(next(few if step < course.few_words else every), pad=pad)


def _parts(rows: Sequence[Row], size: int, rng: Random) -> Iterator[Sequence[Row]]:
    while True:
        pool = sorted(rng.choices(rows, k=_POOL * size), key=lambda row: len(cast(list[int], row["input_ids"])))
        parts = [pool[at : at + size] for at in range(0, len(pool), size)]
        rng.shuffle(parts)
        yield from parts
