"""Attention patterns of matched heads, side by side, from the examples that a run keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.errors import ResultError
from circuitkit.reports.alignment_record import AlignmentRecord, Example

MAX_TOKENS = 48
"""Tokens of a prompt that are drawn at most, the last ones."""
_MOST_READ = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one head reads at the answer position: tokens with their share of the attention."""

    head: str
    tokens: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionExample:
    """One prompt with the patterns of its matched heads.

    Attributes:
        index: Which example it is.
        example: The prompt, its answers and the names of the heads.
        readings: Teacher's and student's reading at the answer position, a pair a row.
        left_out: Leading tokens of teacher and student that are not drawn because the prompt is long.
        plain: What the page's script draws.
    """

    index: int
    example: Example
    readings: tuple[tuple[Reading, Reading], ...]
    left_out: tuple[int, int]
    plain: dict[str, Any]


def attention_examples(record: AlignmentRecord, tensors: Mapping[str, Tensor]) -> tuple[AttentionExample, ...]:
    """Every example of a run that holds at least one pair of heads.

    Raises:
        ResultError: A pattern is missing, or its shape does not fit its tokens and heads.
    """
    return tuple(_example(index, example, tensors) for index, example in enumerate(record.examples) if example.heads)


def _example(index: int, example: Example, tensors: Mapping[str, Tensor]) -> AttentionExample:
    sides = {"teacher": example.teacher_tokens, "student": example.student_tokens}
    patterns = {
        who: stored_pattern(tensors, f"example{index}.{who}_patterns", len(example.heads), len(tokens))
        for who, tokens in sides.items()
    }
    names = {"teacher": [h.teacher for h in example.heads], "student": [h.student for h in example.heads]}
    readings = {
        who: [_reading(head, pattern, sides[who]) for head, pattern in zip(names[who], patterns[who], strict=True)]
        for who in sides
    }
    plain = {
        who: {
            "heads": names[who],
            "tokens": list(tokens[-MAX_TOKENS:]),
            "patterns": rounded(patterns[who][:, -MAX_TOKENS:, -MAX_TOKENS:]),
            "causal": not bool(torch.triu(patterns[who], diagonal=1).any()),
        }
        for who, tokens in sides.items()
    }
    return AttentionExample(
        index=index,
        example=example,
        readings=tuple(zip(readings["teacher"], readings["student"], strict=True)),
        left_out=(
            max(0, len(example.teacher_tokens) - MAX_TOKENS),
            max(0, len(example.student_tokens) - MAX_TOKENS),
        ),
        plain={"index": index, **plain},
    )


def stored_pattern(
    tensors: Mapping[str, Tensor], name: str, n_heads: int, n_tokens: int
) -> Float[Tensor, "head query key"]:
    """Attention patterns that a run keeps.

    Args:
        tensors: The run's tensors.
        name: Which of them.
        n_heads: How many patterns there must be.
        n_tokens: Of how many tokens.

    Raises:
        ResultError: They are missing or of another shape.
    """
    wanted = (n_heads, n_tokens, n_tokens)
    if name not in tensors or tuple(tensors[name].shape) != wanted:
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        raise ResultError(f"Result is broken at tensor {name}: got {got}, wanted {wanted}. Make the run again.")
    return tensors[name].float()


def _reading(head: str, pattern: Float[Tensor, "query key"], tokens: tuple[str, ...]) -> Reading:
    row = pattern[_answer_position(tokens)]
    values, keys = row.topk(min(_MOST_READ, len(tokens)))
    read = zip(keys.tolist(), values.tolist(), strict=True)
    return Reading(head=head, tokens=tuple((tokens[key], value) for key, value in read))


def _answer_position(tokens: tuple[str, ...]) -> int:
    """The mask token of a masked LM, or else the last token."""
    masks = [i for i, token in enumerate(tokens) if token.strip() in {"[MASK]", "<mask>"}]
    return masks[-1] if masks else len(tokens) - 1


def rounded(patterns: Float[Tensor, "head query key"]) -> list[list[list[float]]]:
    """Patterns as short numbers for the page's script."""
    return [[[round(v, 3) for v in row] for row in head] for head in patterns.tolist()]
