"""Reads the published figures and says which pair of models they are of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).parent / "distilled_circuits.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFigure:
    """One printed number.

    Attributes:
        quantity: What it is of, such as `alignment` or `mean_drop`.
        pair: The pair of models that it is of, such as `gpt2/distilgpt2`.
        task: The task.
        value: The number as printed.
        printed: In the paper or in a notebook's output.
        source: Table, figure, section or notebook cell.
        definition: How it was computed, as far as that is known, with its unit.
        discrepancies: Known differences between the paper's text and its notebooks that bear on it.
        key: Its place in the full list of reference values.
        side: `teacher` or `student`; None for the pair.
        ci95: Its printed interval.
        n: Prompts.
        component: The component that it is of.
        role: The role of that component.
        variant: A layer, or the definition that a notebook's score goes with.
    """

    quantity: str
    pair: str
    task: str
    value: float
    printed: Literal["paper", "notebook"]
    source: str
    definition: str
    discrepancies: tuple[str, ...]
    key: str
    side: str | None = None
    ci95: tuple[float, float] | None = None
    n: int | None = None
    component: str | None = None
    role: str | None = None
    variant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPair:
    """A pair of models of the paper.

    Attributes:
        name: Its name in the figures.
        teacher: Hub ids of the teacher, the usual one first.
        student: Hub ids of the student.
        families: Families of the two.
    """

    name: str
    teacher: tuple[str, ...]
    student: tuple[str, ...]
    families: tuple[str, str]

    def is_of(self, teacher: str, student: str) -> bool:
        """Whether models of these names are the paper's own."""
        return teacher in self.teacher and student in self.student


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Everything that is compared with.

    Attributes:
        paper: The paper.
        notebooks: Repository and commit of its notebooks.
        pairs: The paper's pairs.
        discrepancies: Known differences between text and notebooks, by id: what each says and what follows.
        figures: The numbers.
    """

    paper: str
    notebooks: str
    pairs: Mapping[str, PublishedPair]
    discrepancies: Mapping[str, Mapping[str, str]]
    figures: tuple[PublishedFigure, ...]

    def pair_like(self, teacher: str, student: str, families: tuple[str, str]) -> tuple[PublishedPair, bool] | None:
        """The paper's pair to set beside two models, and whether it is the very same; None where there is no like.

        Args:
            teacher: Name of the teacher.
            student: Name of the student.
            families: Their families.
        """
        for pair in self.pairs.values():
            if pair.is_of(teacher, student):
                return pair, True
        return next(((pair, False) for pair in self.pairs.values() if pair.families == families), None)

    def of_pair(self, pair: str) -> tuple[PublishedFigure, ...]:
        """The figures of one of the paper's pairs."""
        return tuple(figure for figure in self.figures if figure.pair == pair)


@cache
def published() -> Published:
    """The figures of Distilled Circuits (arXiv 2505.10822v2) and its notebooks."""
    record: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    pairs = {
        name: PublishedPair(
            name=name,
            teacher=tuple(pair["teacher"]),
            student=tuple(pair["student"]),
            families=(pair["families"][0], pair["families"][1]),
        )
        for name, pair in record["pairs"].items()
    }
    return Published(
        paper=record["paper"],
        notebooks=record["notebooks"],
        pairs=pairs,
        discrepancies=record["discrepancies"],
        figures=tuple(_figure(figure) for figure in record["figures"]),
    )


def _figure(record: Mapping[str, Any]) -> PublishedFigure:
    ends = record.get("ci95")
    return PublishedFigure(
        **{name: value for name, value in record.items() if name not in ("value", "ci95", "discrepancies")},
        value=float(record["value"]),
        ci95=None if ends is None else (ends[0], ends[1]),
        discrepancies=tuple(record["discrepancies"]),
    )
