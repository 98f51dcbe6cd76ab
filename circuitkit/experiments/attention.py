"""Attention of matched heads side by side (Figs. 1 to 14 of Distilled Circuits)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval
from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.attention_figures import HeadPair, attention_figures, head_names
from circuitkit.experiments.attention_readings import AttentionReadings, read_attention
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, Column, StudyTable, number

SOURCE = "Distilled Circuits (Haskins & Adams 2026), sections 3.2 and Appendices F to I, Figures 1 to 14"
HEAD_PAIRS = 6
TOLD = 3
"""Pairs of heads in the sentences above the page."""


def attention_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """Mean attention of matched heads, and what END reads in both models.

    Args:
        pairs: The pair, alone.
        options: `top`: how many matched pairs of heads are drawn, the teacher's most influential first.
        progress: Called as prompts are run.

    Raises:
        OptionError: The similarity is undefined between the models.
    """
    (pair,) = pairs
    matched = matched_heads(pair)
    sides = [
        read_attention(model, batch, batch_size=pair.batch_size, stage=f"{who} attention", progress=progress)
        for who, model, batch in zip(
            ("teacher", "student"), (pair.teacher_model, pair.student_model), pair.batches, strict=True
        )
    ]
    drawn = matched[: options.top or HEAD_PAIRS]
    labels, patterns = _labels_table(pair, sides, matched), _patterns_table(pair, matched)
    return make_study(
        pairs,
        name="attention",
        title="Attention of matched heads side by side",
        source=SOURCE,
        findings=_findings(labels, patterns),
        caution=(
            f"{matched_by(pair)} That two look alike does not show that they do the same, and a mean pattern hides "
            "how prompts differ. Attention to a label counts its last token only."
        ),
        tables={"labels": labels, "patterns": patterns},
        figures=attention_figures(pair, sides, drawn),
        settings={**pair.settings.to_dict(), "top": len(drawn)},
        notices=pair.warnings,
    )


def matched_by(pair: PairMeasurements) -> str:
    """What heads are matched by, in a sentence."""
    if pair.similarity().method_heads == "pattern":
        return (
            "Heads are matched by where they look, so that matched heads look alike by construction: the ranks below "
            "are no evidence of it."
        )
    return "Heads are matched by what they write, not by where they look."


def matched_heads(pair: PairMeasurements) -> list[HeadPair]:
    """Matched heads, the teacher's most influential first; of soft matches only the strongest of each teacher head."""
    matching, _ = pair.score()
    influence = pair.teacher.values
    n_heads = pair.teacher_model.info.n_layers * pair.teacher_model.info.n_heads
    strength = influence[matching.teacher] + 1e-9 * matching.weight
    out: dict[int, HeadPair] = {}
    for i in strength.argsort(descending=True, stable=True).tolist():
        head = int(matching.teacher[i])
        if head < n_heads and head not in out:
            out[head] = head, int(matching.student[i]), float(matching.similarity[i])
    return list(out.values())


def _labels_table(
    pair: PairMeasurements, sides: Sequence[AttentionReadings], matched: Sequence[HeadPair]
) -> StudyTable:
    weights = pair.teacher.weights()
    teacher, student = sides
    rows: list[dict[str, Cell]] = []
    for head in matched:
        names = head_names(pair, head)
        for label in teacher.labels:
            if label not in student.labels:
                continue
            at = teacher.labels.index(label), student.labels.index(label)
            read = teacher.to_labels[head[0], at[0]], student.to_labels[head[1], at[1]]
            others = [_others(side, h, i) for side, h, i in zip(sides, head[:2], at, strict=True)]
            rows.append(
                {
                    "teacher": str(names[0]),
                    "student": str(names[1]),
                    "label": label,
                    "teacher_attention": float(read[0].double().mean()),
                    "teacher_ci95": _ends(read[0], weights),
                    "student_attention": float(read[1].double().mean()),
                    "student_ci95": _ends(read[1], weights),
                    "difference": float((read[1] - read[0]).double().mean()),
                    "difference_ci95": _ends(read[1] - read[0], weights),
                    "teacher_others": others[0],
                    "student_others": others[1],
                    "teacher_uniform": float(teacher.uniform.mean()),
                    "student_uniform": float(student.uniform.mean()),
                }
            )
    return StudyTable(
        title="What END reads: attention from the answer position to each label",
        columns=(
            Column(name="teacher", title="teacher head", kind="text"),
            Column(name="student", title="its match", kind="text"),
            Column(name="label", title="label", kind="text"),
            Column(name="teacher_attention", title="teacher"),
            Column(name="teacher_ci95", title="95%", kind="interval"),
            Column(name="student_attention", title="student"),
            Column(name="student_ci95", title="95%", kind="interval"),
            Column(name="difference", title="student − teacher"),
            Column(name="difference_ci95", title="95%", kind="interval"),
            Column(name="teacher_others", title="other heads, teacher"),
            Column(name="student_others", title="other heads, student"),
            Column(name="teacher_uniform", title="if all were read alike, teacher"),
            Column(name="student_uniform", title="student"),
        ),
        rows=tuple(rows),
        note="Shares of the attention, 0 to 1. Beside them the mean of all other heads of the model, and what one "
        "token gets if all that can be read is read alike. Intervals resample prompts; differences are paired.",
    )


def _others(side: AttentionReadings, head: int, label: int) -> float:
    rest = torch.arange(len(side.to_labels)) != head
    return float(side.to_labels[rest, label].double().mean())


def _ends(values: Float[Tensor, " prompt"], weights: BootstrapWeights | None) -> tuple[float, float] | None:
    if weights is None:
        return None
    low, high = percentile_interval(weights.means(values))
    return float(low), float(high)


def _patterns_table(pair: PairMeasurements, matched: Sequence[HeadPair]) -> StudyTable:
    alike, influences = pair.similarity("pattern").heads, (pair.teacher.values, pair.student.values)
    rows: list[dict[str, Cell]] = []
    for head in matched:
        t, s, similarity = head
        names = head_names(pair, head)
        row = alike[t]
        others = row[torch.arange(len(row)) != s]
        rows.append(
            {
                "teacher": str(names[0]),
                "student": str(names[1]),
                "teacher_influence": float(influences[0][t]),
                "student_influence": float(influences[1][s]),
                "similarity": similarity,
                "pattern": float(row[s]),
                "others": float(others.mean()) if len(others) else None,
                "rank": 1 + int((row > row[s]).sum()),
                "of": len(row),
            }
        )
    return StudyTable(
        title="Do matched heads look at the same places?",
        columns=(
            Column(name="teacher", title="teacher head", kind="text"),
            Column(name="student", title="its match", kind="text"),
            Column(name="teacher_influence", title="influence, teacher"),
            Column(name="student_influence", title="influence, student"),
            Column(name="similarity", title="similarity matched by"),
            Column(name="pattern", title="similarity of mean patterns"),
            Column(name="others", title="with the student's other heads"),
            Column(name="rank", title="rank of the match", kind="count"),
            Column(name="of", title="of", kind="count"),
        ),
        rows=tuple(rows),
        note="Similarity of mean patterns: cosine of rows, averaged over rows. The null beside it is the mean over all "
        "student heads that are not the match; a match by chance has a middling rank.",
    )


def _findings(labels: StudyTable, patterns: StudyTable) -> tuple[str, ...]:
    first = sum(row["rank"] == 1 for row in patterns.rows)
    chance = sum(1 / number(row["of"]) for row in patterns.rows)
    out = [
        f"Of {len(patterns.rows)} matched teacher heads, {first} look most like their match among all student heads; "
        f"{chance:.1f} would by chance.",
    ]
    told: list[str] = []
    for pair in patterns.rows[:TOLD]:
        own = [row for row in labels.rows if row["teacher"] == pair["teacher"]]
        if own:
            most = max(own, key=lambda row: number(row["teacher_attention"]))
            told.append(
                f"{most['teacher']} reads {most['label']} with {number(most['teacher_attention']):.2f}, its match "
                f"{most['student']} with {number(most['student_attention']):.2f}"
            )
    if told:
        out.append(f"At END, {'; '.join(told)}.")
    return tuple(out)
