"""Tables of QK matrices: every cell that is drawn."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval
from circuitkit.experiments.attention_figures import HeadPair, head_names
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.qk_agreement import centred
from circuitkit.experiments.qk_matrices import QkMatrices
from circuitkit.experiments.study_table import Cell, Column, StudyTable
from circuitkit.probes.geometry import LabelMaps

_WHO = ("teacher", "student")


def cells_table(pair: PairMeasurements, matrices: QkMatrices, drawn: Sequence[HeadPair]) -> StudyTable:
    """Scores and attention of the drawn heads between every two labels."""
    weights = pair.teacher.weights()
    sides = matrices.teacher, matrices.student
    labels = matrices.teacher.labels
    rows: list[dict[str, Cell]] = []
    for head in drawn:
        names = head_names(pair, head)
        for a, query in enumerate(labels):
            for b, key in enumerate(labels):
                if not any(bool(side.readable[a, b] > 0) for side in sides):
                    continue
                row: dict[str, Cell] = {"teacher": str(names[0]), "student": str(names[1]), "query": query, "key": key}
                for i, (who, side, index) in enumerate(zip(_WHO, sides, head[:2], strict=True)):
                    kept = side.kept.index(names[i])
                    row |= _cell(who, side, (index, kept, a, b), weights)
                rows.append(row)
    return StudyTable(
        title="QK scores and mean attention of the drawn heads, label by label",
        columns=(
            Column(name="teacher", title="teacher head", kind="text"),
            Column(name="student", title="its match", kind="text"),
            Column(name="query", title="reads", kind="text"),
            Column(name="key", title="is read", kind="text"),
            *(column for who in _WHO for column in _columns(who)),
        ),
        rows=tuple(rows),
        note="At the last token of each label. Score: q · k times the scaling, before the softmax, mean over the "
        "prompts in which the one may read the other. Relative: less the mean of its row; only these differences "
        "reach the attention. Intervals resample prompts.",
    )


def _cell(
    who: str, side: LabelMaps, at: tuple[int, int, int, int], weights: BootstrapWeights | None
) -> dict[str, Cell]:
    head, kept, a, b = at
    names = ("score", "score_ci95", "relative", "attention", "attention_ci95")
    if not bool(side.readable[a, b] > 0):
        return {f"{who}_{name}": None for name in names}
    values = (
        float(side.scores[head, a, b]),
        _ends(side.each_score[kept, a, b], weights),
        float(centred(side.scores[head], side.readable > 0)[a, b]),
        float(side.pattern[head, a, b]),
        _ends(side.each_pattern[kept, a, b], weights),
    )
    return {f"{who}_{name}": value for name, value in zip(names, values, strict=True)}


def _columns(who: str) -> tuple[Column, ...]:
    return (
        Column(name=f"{who}_score", title=f"score, {who}", unit="nats"),
        Column(name=f"{who}_score_ci95", title="95%", kind="interval"),
        Column(name=f"{who}_relative", title="relative", unit="nats"),
        Column(name=f"{who}_attention", title=f"attention, {who}"),
        Column(name=f"{who}_attention_ci95", title="95%", kind="interval"),
    )


def _ends(values: Float[Tensor, " prompt"], weights: BootstrapWeights | None) -> tuple[float, float] | None:
    if weights is None:
        return None
    counts = weights.means(values.isfinite().float())
    if bool((counts == 0).any()):
        return None
    low, high = percentile_interval(weights.means(values.nan_to_num(0)) / counts)
    return float(low), float(high)


def words_table(pair: PairMeasurements, matrices: QkMatrices, drawn: Sequence[HeadPair]) -> StudyTable:
    """How the drawn heads fit one word to another by the weights alone."""
    assert matrices.word_scores is not None
    rows: list[dict[str, Cell]] = []
    for head in drawn:
        names = head_names(pair, head)
        scores = [all_[h] for all_, h in zip(matrices.word_scores, head[:2], strict=True)]
        every = torch.ones_like(scores[0], dtype=torch.bool)
        relative = [centred(own, every) for own in scores]
        for a, query in enumerate(matrices.words):
            for b, key in enumerate(matrices.words):
                row: dict[str, Cell] = {
                    "teacher": str(names[0]),
                    "student": str(names[1]),
                    "query": query.strip(),
                    "key": key.strip(),
                }
                for who, own, less in zip(_WHO, scores, relative, strict=True):
                    row |= {f"{who}_score": float(own[a, b]), f"{who}_relative": float(less[a, b])}
                rows.append(row)
    return StudyTable(
        title="How the drawn heads fit words, by the weights alone",
        columns=(
            Column(name="teacher", title="teacher head", kind="text"),
            Column(name="student", title="its match", kind="text"),
            Column(name="query", title="reads", kind="text"),
            Column(name="key", title="is read", kind="text"),
            *(
                column
                for who in _WHO
                for column in (
                    Column(name=f"{who}_score", title=f"score, {who}", unit="nats"),
                    Column(name=f"{who}_relative", title="relative", unit="nats"),
                )
            ),
        ),
        rows=tuple(rows),
        note="W_Q and W_K between embeddings (Elhage et al. 2021): both words at the first position, and nothing that "
        "the blocks before add. Relative: less the mean of its row.",
    )
