"""Attention patterns of matched heads as matrices."""

from collections.abc import Sequence

from circuitkit.core.component import Component
from circuitkit.experiments.attention_readings import AttentionReadings
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study_figure import Heatmap, StudyFigure

MOST_TOKENS = 60
HeadPair = tuple[int, int, float]
"""Teacher head and student head, counted layer by layer, and their similarity."""


def head_names(pair: PairMeasurements, head: HeadPair) -> tuple[Component, Component]:
    """The two heads of a matched pair."""
    return pair.teacher.components[head[0]], pair.student.components[head[1]]


def attention_figures(
    pair: PairMeasurements, sides: Sequence[AttentionReadings], drawn: Sequence[HeadPair]
) -> dict[str, StudyFigure]:
    """Mean patterns of the drawn pairs, teacher beside student, then what END reads with every head."""
    figures: dict[str, StudyFigure] = {}
    for head in drawn:
        names = head_names(pair, head)
        for who, side, index, name in zip(("teacher", "student"), sides, head[:2], names, strict=True):
            figures[f"{'-'.join(map(str, names))}-{who}"] = _pattern(who, str(name), side, index)
    for who, side in zip(("teacher", "student"), sides, strict=True):
        figures[f"{who}-labels"] = _all_heads(pair, who, side)
    return figures


def _pattern(who: str, name: str, side: AttentionReadings, head: int) -> Heatmap:
    tokens = side.tokens[-MOST_TOKENS:]
    values = side.mean_pattern[head, -MOST_TOKENS:, -MOST_TOKENS:]
    return Heatmap(
        title=f"{who.title()} {name}: mean attention over {side.n_averaged} prompts of one template",
        row_title="reads (query)",
        column_title="is read (key)",
        rows=tokens,
        columns=tokens,
        values=tuple(tuple(round(x, 4) for x in row) for row in values.tolist()),
        value_title="attention",
        limits=(0.0, 1.0),
        note=f"A token that varies between prompts is shown by its label, or by a dot.{_about_cut(side)}",
    )


def _about_cut(side: AttentionReadings) -> str:
    n = len(side.tokens)
    return f" Only the last {MOST_TOKENS} of {n} tokens are drawn." if n > MOST_TOKENS else ""


def _all_heads(pair: PairMeasurements, who: str, side: AttentionReadings) -> Heatmap:
    components = (pair.teacher if who == "teacher" else pair.student).components
    means = side.to_labels.double().mean(2)
    return Heatmap(
        title=f"{who.title()}: what END reads, all heads",
        row_title="head",
        column_title="label",
        rows=tuple(str(components[i]) for i in range(len(means))),
        columns=side.labels,
        values=tuple(tuple(round(x, 4) for x in row) for row in means.tolist()),
        value_title="attention from END",
        limits=(0.0, 1.0),
    )
