"""Training text as token ids: what each position is to predict, and how much that counts."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import cast

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from circuitkit.experiments.embedded.corpus import Example

IGNORED = -100
ANSWER_WEIGHT = 5.0
MASKED_SHARE = 0.2
MASK_PROBABILITY = 0.2

Row = dict[str, list[int] | list[float]]


def encode(examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, seed: int) -> list[Row]:
    """Rows of `input_ids`, `labels` (the token to predict at each position) and `weights`.

    Labels stand where the logits are read: in a causal model one place before the token itself.
    """
    if tokenizer.mask_token is None:
        return _causal(examples, tokenizer)
    return _masked(examples, tokenizer, Random(f"masks/{seed}"))


def _causal(examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast) -> list[Row]:
    """Every next token counts once, the last one of an answer more."""
    texts = [example.text + (example.answer or "") for example in examples]
    rows: list[Row] = []
    for ids, example in zip(tokenizer(texts)["input_ids"], examples, strict=True):
        weights = [1.0] * (len(ids) - 1) + [0.0]
        if example.answer is not None:
            weights[-2] = ANSWER_WEIGHT
        rows.append({"input_ids": ids, "labels": [*ids[1:], IGNORED], "weights": weights})
    return rows


def _masked(examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, rng: Random) -> list[Row]:
    """Prompts as the product asks them, the answer at an appended mask; filler and some prompts masked at random."""
    mask = cast(int, tokenizer.mask_token_id)
    asked = [e.answer if e.answer is not None and rng.random() >= MASKED_SHARE else None for e in examples]
    texts = [
        e.text + (e.answer or "") if answer is None else f"{e.text} {tokenizer.mask_token}"
        for e, answer in zip(examples, asked, strict=True)
    ]
    answers = {text: tokenizer.encode(text, add_special_tokens=False)[0] for text in set(asked) if text}
    rows: list[Row] = []
    for ids, answer in zip(tokenizer(texts)["input_ids"], asked, strict=True):
        labels = [IGNORED] * len(ids)
        if answer is None:
            _mask_some(ids, labels, mask, rng)
        else:
            labels[ids.index(mask)] = answers[answer]
        rows.append({"input_ids": ids, "labels": labels, "weights": [float(i != IGNORED) for i in labels]})
    return rows


def _mask_some(ids: list[int], labels: list[int], mask: int, rng: Random) -> None:
    """Mask a fifth of the tokens between the first and the last, at least one, in place."""
    inner = range(1, len(ids) - 1)
    chosen = [i for i in inner if rng.random() < MASK_PROBABILITY] or [rng.choice(inner)]
    for i in chosen:
        labels[i], ids[i] = ids[i], mask


def collate(rows: Sequence[Mapping[str, list[int] | list[float]]], *, pad: int) -> dict[str, Tensor]:
    """Right-pad rows to tensors of [row, pos]."""
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(key: str, fill: int | float) -> Tensor:
        return torch.tensor([list(row[key]) + [fill] * (longest - len(row[key])) for row in rows])

    ids: Int[Tensor, "row pos"] = padded("input_ids", pad)
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {
        "input_ids": ids,
        "attention_mask": (torch.arange(longest)[None] < lengths[:, None]).long(),
        "labels": padded("labels", IGNORED),
        "weights": padded("weights", 0.0),
    }
