"""QK matrices of matched heads, teacher beside student."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.experiments.attention_figures import HeadPair, head_names
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.qk_agreement import centred
from circuitkit.experiments.qk_matrices import QkMatrices
from circuitkit.experiments.study_figure import Heatmap, StudyFigure

_WHO = ("teacher", "student")
Drawn = tuple[str, tuple[str, ...], Float[Tensor, "query key"], Bool[Tensor, "query key"]]
"""Whose head and its name, names of rows and columns, values, and the cells that have any."""


def qk_figures(pair: PairMeasurements, matrices: QkMatrices, drawn: Sequence[HeadPair]) -> dict[str, StudyFigure]:
    """Scores, mean attention and fit of words of the drawn pairs."""
    figures: dict[str, StudyFigure] = {}
    for head in drawn:
        names = [str(name) for name in head_names(pair, head)]
        of = "-".join(names)
        figures |= _of_labels(of, names, matrices, head)
        if matrices.word_scores is not None:
            words = tuple(word.strip() for word in matrices.words)
            shown: list[Drawn] = []
            for who, name, scores, h in zip(_WHO, names, matrices.word_scores, head[:2], strict=True):
                every = torch.ones_like(scores[h], dtype=torch.bool)
                shown.append((f"{who} {name}", words, centred(scores[h], every), every))
            figures |= _signed(f"{of}-words", "fit of words, by the weights", shown)
    return figures


def _of_labels(of: str, names: Sequence[str], matrices: QkMatrices, head: HeadPair) -> dict[str, StudyFigure]:
    scores: list[Drawn] = []
    attention: dict[str, StudyFigure] = {}
    for who, name, side, h in zip(_WHO, names, (matrices.teacher, matrices.student), head[:2], strict=True):
        may = side.readable > 0
        scores.append((f"{who} {name}", side.labels, centred(side.scores[h], may), may))
        attention[f"{of}-attention-{who}"] = _heatmap(
            (f"{who} {name}", side.labels, side.pattern[h], may), "mean attention", "attention", (0.0, 1.0), ""
        )
    return {**_signed(f"{of}-scores", "QK scores", scores), **attention}


def _signed(key: str, what: str, shown: Sequence[Drawn]) -> dict[str, StudyFigure]:
    """Both models' matrices on one scale around 0."""
    top = max(float(values.abs().max()) for _, _, values, _ in shown) or 1.0
    note = "Each row without its mean: only these differences reach the attention. Both models on one scale."
    return {
        f"{key}-{who}": _heatmap(one, what, "score, nats", (-top, top), note)
        for who, one in zip(_WHO, shown, strict=True)
    }


def _heatmap(shown: Drawn, what: str, value_title: str, limits: tuple[float, float], note: str) -> Heatmap:
    name, places, values, may = shown
    return Heatmap(
        title=f"{name[0].upper()}{name[1:]}: {what}",
        row_title="reads (query)",
        column_title="is read (key)",
        rows=places,
        columns=places,
        values=tuple(
            tuple(round(x, 4) if seen else None for x, seen in zip(row, open_, strict=True))
            for row, open_ in zip(values.tolist(), may.tolist(), strict=True)
        ),
        value_title=value_title,
        limits=limits,
        note=note,
    )
