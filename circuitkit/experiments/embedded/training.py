"""Training and distillation with the Hugging Face Trainer."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from circuitkit.experiments.embedded.encoding import Row, collate
from circuitkit.experiments.embedded.losses import label_loss, logit_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: Optimiser steps.
        learning_rate: Its peak, reached after `warmup` steps; a cosine takes it to 0.
        warmup: Steps of linear warm-up.
        weight_decay: Of AdamW. With .3 a causal teacher copies names rather than knowing them; with several units
            a student of few steps stays weaker than its teacher on all tasks, and not on the slowest alone.
        batch_size: Rows a step.
        log_every: Steps over which a reported loss is a mean.
    """

    steps: int
    learning_rate: float
    warmup: int = 100
    weight_decay: float = 0.01
    batch_size: int = 64
    log_every: int = 50


def train(model: PreTrainedModel, rows: Sequence[Row], schedule: Schedule, *, pad: int, seed: int) -> list[float]:
    """Train in place on the rows' labels.

    Returns:
        The loss (nats a token), a mean over each `log_every` steps.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = _LabelTrainer(
            model=model,
            args=_arguments(schedule, folder, seed=seed),
            train_dataset=cast(Any, arranged(rows, schedule, seed=seed)),
            data_collator=partial(collate, pad=pad),
        )
        return _run(trainer)


def distil(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    rows: Sequence[Row],
    schedule: Schedule,
    *,
    temperature: float,
    pad: int,
    seed: int,
) -> list[float]:
    """Train the student in place on the teacher's logits alone; the labels are not used.

    Returns:
        The loss (nats a token, times temperature squared), a mean over each `log_every` steps.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = _LogitTrainer(
            model=student,
            args=_arguments(schedule, folder, seed=seed),
            train_dataset=cast(Any, arranged(rows, schedule, seed=seed)),
            data_collator=partial(collate, pad=pad),
        )
        trainer.teacher, trainer.temperature = teacher.eval(), temperature
        return _run(trainer)


class _LabelTrainer(Trainer):
    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        return label_loss(_logits(model, inputs), inputs["labels"], inputs["weights"])


class _LogitTrainer(Trainer):
    teacher: PreTrainedModel
    temperature: float

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        with torch.no_grad():
            wanted = _logits(self.teacher, inputs)
        return logit_loss(_logits(model, inputs), wanted, inputs["weights"], temperature=self.temperature)


def _logits(model: nn.Module, inputs: Mapping[str, Tensor]) -> Float[Tensor, "row pos vocab"]:
    return model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits


def _run(trainer: Trainer) -> list[float]:
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _arguments(schedule: Schedule, folder: str, *, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        max_steps=schedule.steps,
        per_device_train_batch_size=schedule.batch_size,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=schedule.warmup,
        weight_decay=schedule.weight_decay,
        adam_beta2=0.98,
        optim="adamw_torch_fused",
        train_sampling_strategy="sequential",  # `arranged` has drawn the order
        seed=seed,
        use_cpu=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=schedule.log_every,
    )


def arranged(rows: Sequence[Row], schedule: Schedule, *, seed: int) -> list[Row]:
    """The rows in the order in which they are trained on, reused as often as needed.

    The longest tenth has batches of its own, which saves a third of the padding; all others mix the tasks (batches
    of one length, and so of one task, were seen to learn ioi and greater-than far more slowly).
    """
    rng = Random(f"order/{seed}")
    size = schedule.batch_size
    longest = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))[len(rows) * 9 // 10 :]
    parts = [sorted(set(range(len(rows))) - set(longest)), longest]
    order: list[Row] = []
    while len(order) < schedule.steps * size:
        batches: list[list[int]] = []
        for part in parts:
            drawn = rng.sample(part, len(part))
            batches += [drawn[at : at + size] for at in range(0, len(drawn) - size + 1, size)]
        rng.shuffle(batches)
        order += [rows[i] for batch in batches for i in batch]
    return order[: schedule.steps * size]
