"""Which MLP of the student does what the teacher's MLPs do (section 3.2.2 of Distilled Circuits)."""

from collections.abc import Sequence
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.similarity.types import Similarity
from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval
from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.mlp_cosines import MlpCosines, mlp_cosines, stream_cosines
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_figure import Heatmap, StudyFigure
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, Column, StudyTable, number

SOURCE = "Distilled Circuits (Haskins & Adams 2026), section 3.2.2 and Eq. 6"


def mlp_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """Similarity of every teacher MLP with every student MLP: directions (or CKA), and cosines token by token.

    Args:
        pairs: The pair, alone.
        options: Nothing is taken from it.
        progress: Called as prompts are run.

    Raises:
        ModelError: Activations are not finite.
    """
    (pair,) = pairs
    similarity = pair.similarity()
    models = pair.teacher_model, pair.student_model
    alike = models[0].info.d_model == models[1].info.d_model
    cosines = (
        mlp_cosines(models, pair.batches, pair.shared, batch_size=pair.batch_size, progress=progress) if alike else None
    )
    streams = (
        stream_cosines(models, pair.batches, pair.shared, batch_size=pair.batch_size, progress=progress)
        if alike
        else None
    )
    table = _table(pair, similarity, cosines, streams)
    return make_study(
        pairs,
        name="mlp",
        title="Which student MLP stands for which teacher MLP",
        source=SOURCE,
        findings=_findings(table, similarity),
        caution=(
            "Outputs of MLPs share a large common part, whatever the prompt: a cosine means little beside that of "
            "mismatched prompts. The three leading directions leave out how much is written along them."
        ),
        tables={"mlps": table, "matches": _matches(table)},
        figures=_figures(pair, similarity, cosines),
        settings=pair.settings.to_dict(),
        notices=(
            *pair.plain_warnings,
            *similarity.notices,
            *(() if alike else ("Widths differ: there are no cosines between outputs of different width.",)),
        ),
    )


def _names(pair: PairMeasurements) -> tuple[list[str], list[str]]:
    n = [m.info.n_layers * m.info.n_heads for m in (pair.teacher_model, pair.student_model)]
    return [str(c) for c in pair.teacher_model.components[n[0] :]], [
        str(c) for c in pair.student_model.components[n[1] :]
    ]


def _table(
    pair: PairMeasurements,
    similarity: Similarity,
    cosines: MlpCosines | None,
    streams: Float[Tensor, "teacher_layer student_layer"] | None,
) -> StudyTable:
    names, weights = _names(pair), pair.teacher.weights()
    effects = pair.teacher.table(), pair.student.table()
    rows: list[dict[str, Cell]] = []
    for i, teacher in enumerate(names[0]):
        best = int(similarity.mlps[i].argmax())
        for j, student in enumerate(names[1]):
            row: dict[str, Cell] = {
                "teacher": teacher,
                "student": student,
                "similarity": float(similarity.mlps[i, j]),
                "best": j == best,
            }
            for name in ("every", "first", "other", "mismatched"):
                values = None if cosines is None else getattr(cosines, name)[:, i, j]
                row[name] = None if values is None else _mean(values)
                row[f"{name}_ci95"] = None if values is None else _ends(values, weights)
            gap = None if cosines is None else cosines.every[:, i, j] - cosines.mismatched[:, i, j]
            row["gap"], row["gap_ci95"] = (None, None) if gap is None else (_mean(gap), _ends(gap, weights))
            row["stream"] = None if streams is None else float(streams[i, j])
            row["teacher_drop"], row["student_drop"] = effects[0][teacher]["drop"], effects[1][student]["drop"]
            rows.append(row)
    return StudyTable(
        title="Every teacher MLP with every student MLP",
        columns=(
            Column(name="teacher", title="teacher", kind="text"),
            Column(name="student", title="student", kind="text"),
            Column(name="similarity", title=f"similarity ({similarity.method_mlps})"),
            Column(name="best", title="match", kind="flag"),
            Column(name="every", title="cosine, all tokens"),
            Column(name="every_ci95", title="95%", kind="interval"),
            Column(name="mismatched", title="of mismatched prompts"),
            Column(name="mismatched_ci95", title="95%", kind="interval"),
            Column(name="gap", title="above them"),
            Column(name="gap_ci95", title="95%", kind="interval"),
            Column(name="first", title="first token"),
            Column(name="first_ci95", title="95%", kind="interval"),
            Column(name="other", title="other tokens"),
            Column(name="other_ci95", title="95%", kind="interval"),
            Column(name="stream", title="mean streams behind them"),
            Column(name="teacher_drop", title="drop, teacher", unit="logits"),
            Column(name="student_drop", title="drop, student", unit="logits"),
        ),
        rows=tuple(rows),
        note="Similarity: agreement of the three leading directions of the outputs (Eq. 6), or linear CKA. Cosine: of "
        "the outputs at each token, averaged over tokens, then prompts. Mismatched: the student's output at the same "
        "token of another prompt of the same structure. Mean streams: the cosine of the mean residual streams behind "
        "the two layers, which the notebooks print as that of BERT's MLPs. Intervals resample prompts.",
    )


def _matches(table: StudyTable) -> StudyTable:
    return StudyTable(
        title="The best match of each teacher MLP",
        columns=table.columns,
        rows=tuple(row for row in table.rows if row["best"]),
    )


def _mean(values: Float[Tensor, " prompt"]) -> float | None:
    known = values[values.isfinite()]
    return float(known.mean()) if len(known) else None


def _ends(values: Float[Tensor, " prompt"], weights: BootstrapWeights | None) -> tuple[float, float] | None:
    if weights is None or not bool(values.isfinite().all()):
        return None
    low, high = percentile_interval(weights.means(values))
    return float(low), float(high)


def _findings(table: StudyTable, similarity: Similarity) -> tuple[str, ...]:
    best = [row for row in table.rows if row["best"]]
    out = [
        "Each teacher MLP's match: "
        + ", ".join(f"{row['teacher']} with {row['student']} ({number(row['similarity']):.2f})" for row in best)
        + "."
    ]
    taken: dict[str, list[str]] = {}
    for row in best:
        taken.setdefault(str(row["student"]), []).append(str(row["teacher"]))
    merged = {student: teachers for student, teachers in taken.items() if len(teachers) > 1}
    if merged:
        out.append("; ".join(f"{', '.join(teachers)} share {student}" for student, teachers in merged.items()) + ".")
    left = [name for name in dict.fromkeys(str(row["student"]) for row in table.rows) if name not in taken]
    if left:
        out.append(f"No teacher MLP is matched with {', '.join(left)}.")
    if all(row["every"] is not None and row["mismatched"] is not None for row in best):
        own, other = ([number(row[name]) for row in best] for name in ("every", "mismatched"))
        clear = sum(isinstance(ends := row["gap_ci95"], tuple) and ends[0] > 0 for row in best)
        out.append(
            f"Cosines of the matches are {min(own):.2f} to {max(own):.2f}, and those of mismatched prompts "
            f"{min(other):.2f} to {max(other):.2f}; {clear} of {len(best)} are clearly above them."
        )
    rest = [number(row["similarity"]) for row in table.rows if not row["best"]]
    if rest:
        inside = fmean(number(row["similarity"]) for row in best)
        out.append(f"Similarity is {inside:.2f} on average in matches and {fmean(rest):.2f} outside them.")
    return tuple(out)


def _figures(pair: PairMeasurements, similarity: Similarity, cosines: MlpCosines | None) -> dict[str, StudyFigure]:
    rows, columns = _names(pair)
    best = [(i, int(j)) for i, j in enumerate(similarity.mlps.argmax(1).tolist())]

    def heatmap(title: str, values: Tensor, low: float) -> Heatmap:
        return Heatmap(
            title=title,
            row_title="teacher",
            column_title="student",
            rows=tuple(rows),
            columns=tuple(columns),
            values=tuple(tuple(row) for row in values.tolist()),
            value_title="similarity",
            limits=(low, 1.0),
            marks=tuple(best),
            note="Marked: the match of each teacher MLP.",
        )

    figures: dict[str, StudyFigure] = {
        "similarity": heatmap(f"Similarity of MLPs ({similarity.method_mlps})", similarity.mlps, 0.0)
    }
    if cosines is not None:
        titles = {"every": "Cosine of outputs, all tokens", "mismatched": "The same, of mismatched prompts"}
        means = {name: torch.nanmean(getattr(cosines, name), dim=0) for name in titles}
        low = -1.0 if min(float(mean.nan_to_num(0).min()) for mean in means.values()) < 0 else 0.0
        for name, title in titles.items():
            figures[name] = heatmap(title, means[name], low)
    return figures
