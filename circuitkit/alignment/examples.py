"""Attention patterns of the most influential matched heads on a few prompts, for a reader to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.matching import Matching
from circuitkit.core.component import Component
from circuitkit.discovery.influence import Influence
from circuitkit.interventions.rows import take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

PROMPTS, HEAD_PAIRS = 2, 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One prompt with the attention of matched heads in both models.

    Attributes:
        prompt: The clean prompt.
        corrupted: Its corrupted partner, if the task has one.
        correct: The correct answer.
        incorrect: The incorrect answer.
        teacher_tokens: The prompt as the teacher's tokens.
        student_tokens: The prompt as the student's tokens.
        heads: Names of the matched heads, teacher and student.
        teacher_patterns: Attention of the teacher's heads.
        student_patterns: Attention of the student's heads.
    """

    prompt: str
    corrupted: str | None
    correct: str
    incorrect: str
    teacher_tokens: tuple[str, ...]
    student_tokens: tuple[str, ...]
    heads: tuple[tuple[str, str], ...]
    teacher_patterns: Float[Tensor, "head_pair query key"]
    student_patterns: Float[Tensor, "head_pair query_s key_s"]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, without the patterns."""
        return {
            "prompt": self.prompt,
            "corrupted": self.corrupted,
            "correct": self.correct,
            "incorrect": self.incorrect,
            "teacher_tokens": list(self.teacher_tokens),
            "student_tokens": list(self.student_tokens),
            "heads": [{"teacher": teacher, "student": student} for teacher, student in self.heads],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], teacher: Tensor, student: Tensor) -> "Example":
        """Read back what `to_dict` wrote, with the patterns saved beside it."""
        return cls(
            prompt=record["prompt"],
            corrupted=record["corrupted"],
            correct=record["correct"],
            incorrect=record["incorrect"],
            teacher_tokens=tuple(record["teacher_tokens"]),
            student_tokens=tuple(record["student_tokens"]),
            heads=tuple((pair["teacher"], pair["student"]) for pair in record["heads"]),
            teacher_patterns=teacher,
            student_patterns=student,
        )


def pick_examples(
    models: tuple[HookedModel, HookedModel],
    batches: tuple[PromptBatch, PromptBatch],
    influences: tuple[Influence, Influence],
    matching: Matching,
) -> tuple[Example, ...]:
    """Two prompts, of different templates if there are any, and up to 6 matched heads with the greatest I_T."""
    pairs = _head_pairs(influences, matching)
    if not pairs:
        return ()
    return tuple(_example(models, batches, row, pairs) for row in _rows(batches[0]))


def _rows(batch: PromptBatch) -> list[int]:
    first = batch.pairs[0].template
    other = next((i for i, pair in enumerate(batch.pairs) if pair.template != first), 1)
    return [0, other][: min(PROMPTS, len(batch.pairs))]


def _head_pairs(influences: tuple[Influence, Influence], matching: Matching) -> list[tuple[Component, Component]]:
    """Head pairs by the teacher's influence; of soft matches only the strongest of every teacher head."""
    teacher, student = influences
    shown: list[tuple[Component, Component]] = []
    strength = teacher.values[matching.teacher] + 1e-6 * matching.weight
    for i in strength.argsort(descending=True, stable=True).tolist():
        t, s = teacher.components[matching.teacher[i]], student.components[matching.student[i]]
        soft_repeat = float(matching.weight[i]) < 1 and any(t == seen for seen, _ in shown)
        if t.kind == "head" and not soft_repeat:
            shown.append((t, s))
    return shown[:HEAD_PAIRS]


def _example(
    models: tuple[HookedModel, HookedModel],
    batches: tuple[PromptBatch, PromptBatch],
    row: int,
    pairs: Sequence[tuple[Component, Component]],
) -> Example:
    sides = [
        _attention(model, batch, row, [pair[side] for pair in pairs])
        for side, (model, batch) in enumerate(zip(models, batches, strict=True))
    ]
    shown = batches[0].pairs[row]
    return Example(
        prompt=shown.clean,
        corrupted=shown.corrupted,
        correct=shown.correct,
        incorrect=shown.incorrect,
        teacher_tokens=sides[0][0],
        student_tokens=sides[1][0],
        heads=tuple((str(t), str(s)) for t, s in pairs),
        teacher_patterns=sides[0][1],
        student_patterns=sides[1][1],
    )


def _attention(
    model: HookedModel, batch: PromptBatch, row: int, heads: Sequence[Component]
) -> tuple[tuple[str, ...], Float[Tensor, "head query key"]]:
    """Tokens of one prompt and the asked heads' attention on it."""
    taken = take(batch.clean, torch.tensor([row]), model)
    layers = sorted({head.layer for head in heads})
    found = model.capture(taken.ids, taken.mask, ["pattern"], layers)["pattern"]
    patterns = [found[head.layer][0, head.head] for head in heads]
    tokens = tuple(str(model.tokenizer.decode([token])) for token in taken.ids[0].tolist())
    return tokens, torch.stack(patterns).float().cpu()
