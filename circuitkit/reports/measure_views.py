"""Label maps, principal components, similarities of MLPs and the logit lens as HTML without scripts, for notebooks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from circuitkit.core.utf8 import shown_token
from circuitkit.reports.measure_record import LabelMapsRecord, LensRecord, Matrix, MlpPcaRecord, MlpSimilarityRecord
from circuitkit.reports.notebook_view import NotebookTable, notebook_view
from circuitkit.reports.numerals import count, fixed, share
from circuitkit.reports.point_plane import PointPlane, point_plane
from circuitkit.reports.records import read_record
from circuitkit.reports.value_grid import ValueCell, ValueGrid, number_cell
from circuitkit.reports.verdict import Verdict

_SHOWN = 10
_COLOURS = 8


def label_maps_html(result: Mapping[str, Any]) -> str:
    """`LabelMaps`: what the last label reads with the heads that read it most, and the strongest attention of all.

    Args:
        result: What its `to_dict` gives.

    Raises:
        ResultError: The result lacks something that is shown.
    """
    record = read_record(LabelMapsRecord, result)
    labels, last = record.labels, len(record.labels) - 1
    cells = [
        (maps.attention[a][b], maps.score[a][b], head, query, key)
        for head, maps in record.heads.items()
        for a, query in enumerate(labels)
        for b, key in enumerate(labels)
        if record.readable[a][b] > 0
    ]
    strongest = sorted(cells, key=lambda cell: -cell[0])[:_SHOWN]
    heads = sorted(record.heads, key=lambda head: -max(record.heads[head].attention[last]))[:_SHOWN]
    attention = [record.heads[head].attention[last] for head in heads]
    scores = [record.heads[head].score[last] for head in heads]
    n = f"{len(heads)} of {count(len(record.heads))} heads"
    top, top_score = strongest[0], max(abs(x) for row in scores for x in row) or 1.0
    return notebook_view(
        verdict=Verdict(
            headline=f"{top[2]} reads {top[4]} from {top[3]} with {fixed(top[0])} of its attention, the most of all.",
            support=(f"Means between {len(labels)} labels, in the order of their places: {', '.join(labels)}.",),
            caution="Attention is a share, 0 to 1; of scores only differences within a row matter.",
        ),
        warnings=(),
        grids=(
            _grid((f"Attention from {labels[last]}, {n}", "head"), heads, labels, attention, 1.0),
            _grid((f"QK scores from {labels[last]}, nats", "head"), heads, labels, scores, top_score),
        ),
        tables=(
            NotebookTable(
                caption=f"The {len(strongest)} strongest of {count(len(cells))}",
                columns=("head", "reads", "is read", "attention", "score, nats"),
                rows=[(head, query, key, fixed(a, 3), fixed(s, 3)) for a, s, head, query, key in strongest],
            ),
        ),
    )


def mlp_pca_html(result: Mapping[str, Any]) -> str:
    """`MlpPca`: every prompt in the planes of both MLPs, coloured by answer, and what the directions hold.

    Args:
        result: What its `to_dict` gives.

    Raises:
        ResultError: The result lacks something that is shown.
    """
    record = read_record(MlpPcaRecord, result)
    names = [f"Teacher {record.mlps[0]}", f"Student {record.mlps[1]}"]
    shares = (record.teacher_variance, record.student_variance)
    held = [share(sum(own[:2])) for own in shares]
    directions = [str(k + 1) for k in range(len(record.teacher_variance))]
    return notebook_view(
        verdict=Verdict(
            headline=f"{names[0]} and {names[1]} at {record.label}, {count(len(record.answers))} prompts.",
            support=(
                f"The first two directions hold {held[0]} of the teacher's variance and {held[1]} of the student's.",
            ),
            caution="Each plane has its own directions; directions of large variance need not be used by the model.",
        ),
        warnings=() if record.cosines is not None else ("Widths differ: directions have no cosines.",),
        planes=[
            _plane(f"{name} at {record.label}", points, own, record.answers)
            for name, points, own in zip(names, (record.teacher, record.student), shares, strict=True)
            if len(own) > 1
        ],
        grids=()
        if record.cosines is None
        else (_grid(("Cosines of directions", "teacher / student"), directions, directions, record.cosines, 1.0),),
        tables=(
            NotebookTable(
                caption="Share of the variance",
                columns=("direction", "teacher", "student"),
                rows=[(k, fixed(t, 3), fixed(s, 3)) for k, t, s in zip(directions, *shares, strict=True)],
            ),
        ),
    )


def _plane(name: str, points: Matrix, variance: Sequence[float], answers: Sequence[str]) -> PointPlane:
    counts = Counter(answers)
    most = _COLOURS if len(counts) <= _COLOURS else _COLOURS - 1
    shown = sorted(answer for answer, _ in counts.most_common(most))
    groups = [(a.strip(), [p for p, own in zip(points, answers, strict=True) if own == a]) for a in shown]
    rest = [p for p, own in zip(points, answers, strict=True) if own not in shown]
    return point_plane(
        name=name,
        x_title=f"direction 1 ({share(variance[0])})",
        y_title=f"direction 2 ({share(variance[1])})",
        groups=[
            (group, [p[0] for p in own], [p[1] for p in own])
            for group, own in (*groups, *([("others", rest)] if rest else []))
        ],
        note="Coloured by answer.",
    )


def mlp_similarity_html(result: Mapping[str, Any]) -> str:
    """`MlpSimilarity`: the matrix, with the most similar student MLP of each teacher MLP marked.

    Args:
        result: What its `to_dict` gives.

    Raises:
        ResultError: The result lacks something that is shown.
    """
    record = read_record(MlpSimilarityRecord, result)
    best = [max(range(len(row)), key=row.__getitem__) for row in record.values]
    told = ", ".join(f"{t} with {record.student[j]}" for t, j in zip(record.teacher, best, strict=True))
    grid = _grid(("Similarity", "teacher / student"), record.teacher, record.student, record.values, 1.0, best=best)
    return notebook_view(
        verdict=Verdict(
            headline=f"Similarity of {len(record.teacher)} teacher MLPs with {len(record.student)} student MLPs.",
            support=(f"Most similar (\u2605): {told}.",),
            caution="eigenvectors: mean absolute cosine of the three leading directions (Eq. 6); cka: linear CKA. "
            f"Here: {record.method}.",
        ),
        warnings=(),
        grids=(grid,),
    )


def logit_lens_html(result: Mapping[str, Any]) -> str:
    """`LogitLens`: logit difference, rank of the answer and commonest tokens behind every block.

    Args:
        result: What its `to_dict` gives.

    Raises:
        ResultError: The result lacks something that is shown.
    """
    record = read_record(LensRecord, result)
    stages = [stage.stage for stage in record.stages]
    differences = tuple(stage.logit_diff for stage in record.stages)
    last, top = record.stages[-1], max(map(abs, differences)) or 1.0
    return notebook_view(
        verdict=Verdict(
            headline=f"The answer is on top in {share(last.top1)} of prompts at the end, in "
            f"{share(record.stages[0].top1)} in the embedding.",
            support=(f"The logit difference goes from {fixed(differences[0])} to {fixed(differences[-1])}.",),
            caution="The final norm and the head were trained on the last stream only.",
        ),
        warnings=() if record.additive else ("A post-LN model: its streams are no sums of what the blocks write.",),
        grids=(_grid(("Logit difference, logits", ""), ("mean",), stages, (differences,), top),),
        tables=(
            NotebookTable(
                caption="Behind every block",
                columns=("stage", "logit difference", "median rank", "answer on top", "commonest tokens on top"),
                rows=[
                    (
                        stage.stage,
                        fixed(stage.logit_diff),
                        count(int(stage.median_rank) + 1),
                        share(stage.top1),
                        ", ".join(f"{shown_token(word.text)} ({word.n_prompts})" for word in stage.top_words),
                    )
                    for stage in record.stages
                ],
            ),
        ),
    )


def _grid(
    titles: tuple[str, str],
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    top: float,
    *,
    best: Sequence[int] = (),
) -> ValueGrid:
    def cell(row: str, column: str, value: float) -> ValueCell:
        return number_cell(value, value / top, title=f"{row} / {column}: {fixed(value, 3)}", n_columns=len(columns))

    drawn = [[cell(r, c, x) for c, x in zip(columns, own, strict=True)] for r, own in zip(rows, values, strict=True)]
    for i, j in enumerate(best):
        drawn[i][j] = replace(drawn[i][j], text=f"{drawn[i][j].text} \u2605".strip())
    name, corner = titles
    return ValueGrid(
        name=name,
        corner=corner,
        columns=tuple(columns),
        rows=tuple((row, tuple(own)) for row, own in zip(rows, drawn, strict=True)),
    )
