"""QK matrices and mean patterns of matched heads between the task's labels (App. J of Distilled Circuits)."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.attention import matched_by, matched_heads
from circuitkit.experiments.attention_figures import HeadPair, head_names
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.qk_agreement import Agreement, agreement, agreement_interval
from circuitkit.experiments.qk_figures import qk_figures
from circuitkit.experiments.qk_matrices import QkMatrices, read_matrices
from circuitkit.experiments.qk_tables import cells_table, words_table
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, Column, StudyTable, number

SOURCE = "Distilled Circuits (Haskins & Adams 2026), section 3.2 and App. J; QK circuit: Elhage et al. 2021"
HEAD_PAIRS = 3
_KINDS = ("score", "attention", "words")


def qk_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """How queries and keys of matched heads fit between labels, in the run and by the weights alone.

    Args:
        pairs: The pair, alone.
        options: `top`: how many matched pairs of heads are drawn, the teacher's most influential first.
        progress: Called as prompts are run.

    Raises:
        OptionError: The prompts share no labels, or the similarity is undefined between the models.
    """
    (pair,) = pairs
    matched = matched_heads(pair)
    drawn = matched[: options.top or HEAD_PAIRS]
    matrices = read_matrices(pair, drawn, progress=progress)
    heads = _heads_table(pair, matrices, matched, drawn)
    tables = {"heads": heads, "labels": cells_table(pair, matrices, drawn)}
    if matrices.words:
        tables["words"] = words_table(pair, matrices, drawn)
    return make_study(
        pairs,
        name="qk",
        title="How queries and keys of matched heads fit",
        source=SOURCE,
        findings=_findings(heads, len(drawn)),
        caution=(
            f"{matched_by(pair)} Scores say where a head looks, not what it writes there. A mean over prompts hides "
            "how they differ. The fit of words by the weights alone leaves out what the blocks before add."
        ),
        tables=tables,
        figures=qk_figures(pair, matrices, drawn),
        settings={**pair.settings.to_dict(), "top": len(drawn)},
        notices=(*pair.warnings, *matrices.notices),
    )


def _heads_table(
    pair: PairMeasurements, matrices: QkMatrices, matched: Sequence[HeadPair], drawn: Sequence[HeadPair]
) -> StudyTable:
    influences = pair.teacher.values, pair.student.values
    rows: list[dict[str, Cell]] = []
    for head in matched:
        names, found = head_names(pair, head), _agreements(pair, matrices, head, with_interval=head in drawn)
        row: dict[str, Cell] = {
            "teacher": str(names[0]),
            "student": str(names[1]),
            "teacher_influence": float(influences[0][head[0]]),
            "student_influence": float(influences[1][head[1]]),
        }
        for kind in _KINDS:
            own = found.get(kind, Agreement(value=None, others=None, rank=None))
            row |= {kind: own.value, f"{kind}_ci95": own.ci95, f"{kind}_others": own.others, f"{kind}_rank": own.rank}
        rows.append({**row, "of": len(matrices.student.components)})
    titles = {"score": "QK scores agree", "attention": "attention agrees", "words": "words fit alike"}
    return StudyTable(
        title="Do matched heads fit queries to keys alike?",
        columns=(
            Column(name="teacher", title="teacher head", kind="text"),
            Column(name="student", title="its match", kind="text"),
            Column(name="teacher_influence", title="influence, teacher"),
            Column(name="student_influence", title="influence, student"),
            *(
                column
                for kind in _KINDS
                for column in (
                    Column(name=kind, title=titles[kind]),
                    Column(name=f"{kind}_ci95", title="95%", kind="interval"),
                    Column(name=f"{kind}_others", title="with other heads"),
                    Column(name=f"{kind}_rank", title="rank", kind="count"),
                )
            ),
            Column(name="of", title="of", kind="count"),
        ),
        rows=tuple(rows),
        note="Correlations (−1 to 1) of the two heads' matrices over the cells that both models can read, each row "
        "without its mean, as the softmax sees it. Beside them the mean over the student's other heads, and the rank "
        "of the match among all of them; a match by chance has a middling rank. Intervals resample prompts, of the "
        "drawn heads; words are compared by the weights alone, which vary with no prompt.",
    )


def _agreements(
    pair: PairMeasurements, matrices: QkMatrices, head: HeadPair, *, with_interval: bool
) -> dict[str, Agreement]:
    t, s, _ = head
    teacher, student, readable = matrices.teacher, matrices.student, matrices.readable
    found = {
        "score": agreement(teacher.scores[t], student.scores, s, readable),
        "attention": agreement(teacher.pattern[t], student.pattern, s, readable),
    }
    if with_interval:
        names, weights = head_names(pair, head), pair.teacher.weights()
        i, j = teacher.kept.index(names[0]), student.kept.index(names[1])
        for kind, own, other in (
            ("score", teacher.each_score[i], student.each_score[j]),
            ("attention", teacher.each_pattern[i], student.each_pattern[j]),
        ):
            found[kind] = replace(found[kind], ci95=agreement_interval(own, other, readable, weights))
    if matrices.word_scores is not None:
        own, others = matrices.word_scores
        found["words"] = agreement(own[t], others, s, torch.ones_like(own[t], dtype=torch.bool))
    return found


def _findings(heads: StudyTable, n_drawn: int) -> tuple[str, ...]:
    said = {
        "score": "By their QK scores between labels",
        "attention": "By their mean attention between labels",
        "words": "By the fit of words in the weights alone",
    }
    out: list[str] = []
    for kind, words in said.items():
        known = [row for row in heads.rows if row[f"{kind}_rank"] is not None]
        if known:
            first, chance = sum(row[f"{kind}_rank"] == 1 for row in known), sum(1 / number(row["of"]) for row in known)
            out.append(
                f"{words}, {first} of {len(known)} matched teacher heads are most like their match among all student "
                f"heads; {chance:.1f} would be by chance."
            )
    told: list[str] = []
    for row in heads.rows[:n_drawn]:
        ends = row["score_ci95"]
        if row["score"] is not None:
            within = f" ({ends[0]:.2f} to {ends[1]:.2f})" if isinstance(ends, tuple) else ""
            told.append(f"{row['teacher']} and {row['student']} {number(row['score']):.2f}{within}")
    if told:
        out.append(f"Correlation of QK scores in the most influential matched heads: {', '.join(told)}.")
    return tuple(out) or ("The labels are too few to tell whether matched heads look alike.",)
