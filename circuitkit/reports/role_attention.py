"""Attention of the heads that have a role, on the examples that a run keeps, beside what the role says they read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.errors import ResultError
from circuitkit.reports.attention import MAX_TOKENS, rounded, stored_pattern
from circuitkit.reports.role_record import RoleExampleRecord, RoleRecord

_QUERIES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlace:
    """One query of one role in the example: which tokens it should read, and its attention on each."""

    query: str
    keys: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleReading:
    """What one head reads in the places of one of its roles."""

    head: str
    role: str
    places: tuple[ReadPlace, ...]
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePicture:
    """One prompt with the patterns of the heads that have a role.

    Attributes:
        index: Which example it is.
        example: The prompt, its answers and the heads.
        readings: A row for every head and role.
        left_out: Leading tokens that are not drawn because the prompt is long.
        plain: What the page's script draws.
    """

    index: int
    example: RoleExampleRecord
    readings: tuple[RoleReading, ...]
    left_out: int
    plain: dict[str, Any]


def role_pictures(record: RoleRecord, tensors: Mapping[str, Tensor]) -> tuple[RolePicture, ...]:
    """Every example of a run.

    Raises:
        ResultError: A pattern is missing, or does not fit its tokens and heads, or a place lies outside of the prompt.
    """
    return tuple(_picture(index, record, tensors) for index in range(len(record.examples)))


def _picture(index: int, record: RoleRecord, tensors: Mapping[str, Tensor]) -> RolePicture:
    example = record.examples[index]
    patterns = stored_pattern(tensors, f"example{index}.patterns", len(example.heads), len(example.tokens))
    for pairs in example.reads.values():
        if any(not 0 <= place < len(example.tokens) for pair in pairs for place in pair):
            raise ResultError(f"Result is broken at examples.{index}.reads: a place is no token. Make the run again.")
    readings = tuple(
        _reading(shown.head, role, pattern, example)
        for shown, pattern in zip(example.heads, patterns, strict=True)
        for role in shown.roles
        if role in example.reads
    )
    model = {
        "heads": [shown.head for shown in example.heads],
        "notes": [", ".join(record.told(shown.head, role) for role in shown.roles) for shown in example.heads],
        "tokens": list(example.tokens[-MAX_TOKENS:]),
        "patterns": rounded(patterns[:, -MAX_TOKENS:, -MAX_TOKENS:]),
        "causal": not bool(torch.triu(patterns, diagonal=1).any()),
    }
    return RolePicture(
        index=index,
        example=example,
        readings=readings,
        left_out=max(0, len(example.tokens) - MAX_TOKENS),
        plain={"index": index, "model": model},
    )


def _reading(head: str, role: str, pattern: Float[Tensor, "query key"], example: RoleExampleRecord) -> RoleReading:
    by_query: dict[int, list[int]] = {}
    for query, key in example.reads[role]:
        by_query.setdefault(query, []).append(key)
    places = [
        ReadPlace(
            query=example.tokens[query],
            keys=tuple((example.tokens[key], float(pattern[query, key])) for key in keys),
        )
        for query, keys in by_query.items()
    ]
    return RoleReading(head=head, role=role, places=tuple(places[-_QUERIES:]), left_out=max(0, len(places) - _QUERIES))
