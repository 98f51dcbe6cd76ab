"""One score under the paper's text and under its notebooks' definitions (24 known differences)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from circuitkit.alignment.matching import Direction
from circuitkit.alignment.scores import AlignmentScores, match_influences, score_matching
from circuitkit.alignment.similarity.types import SimilarityOption
from circuitkit.core.progress import Progress, silent
from circuitkit.discovery.normalize import Normalize, Sign
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements, measure_pair
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_figure import Chart, Series
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, Column, StudyTable
from circuitkit.interventions.ablation import Ablation

SOURCE = "Distilled Circuits (Haskins & Adams 2026), Table 3, and the notebooks that belong to it"
NOTEBOOK_PROMPTS = 100
TEXT, SCORING, PATTERNS, ZERO = "text", "l1-abs", "notebook", "notebook-zero"
"""Keys of the variants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One definition of the score.

    Attributes:
        key: Its key.
        words: What it is, in words.
        normalize: How drops become influences.
        sign: What becomes of components whose ablation helps.
        direction: Whose components are matched to the other's.
        similarity: What of two components is compared.
        ablation: What replaces an ablated activation.
        n_prompts: Prompts measured.
        scores: What it gives.
    """

    key: str
    words: str
    normalize: Normalize
    sign: Sign
    direction: Direction
    similarity: SimilarityOption
    ablation: Ablation
    n_prompts: int
    scores: AlignmentScores


def definitions_study(
    pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent
) -> Study:
    """Score each task as the paper's text says and, step by step, as its notebooks do.

    Only the last step runs the models again: it ablates by zeros, on 100 prompts at most.

    Args:
        pairs: The same two models on each task.
        options: Nothing is taken from it.
        progress: Called as tasks are done.

    Raises:
        OptionError: The similarity is undefined between the models.
    """
    found: dict[str, list[Variant]] = {}
    for done, pair in enumerate(pairs, start=1):
        found[pair.task.name] = variants(pair)
        progress("tasks", done, len(pairs))
    return make_study(
        pairs,
        name="definitions",
        title="The score as the paper's text defines it and as its notebooks compute it",
        source=SOURCE,
        findings=_findings(found),
        caution=(
            "Scores under different definitions are different quantities. The notebooks differ in more places than can "
            "be set here: they take uncentred and signed eigenvectors of MLPs, divide by the sum over matched pairs "
            "only, and ablate BERT at positions instead of heads; those are errors and are not repeated."
        ),
        tables={"variants": _table(found)},
        figures={"scores": _figure(found)},
        settings=pairs[0].settings.to_dict(),
        notices=[f"{p.task.name}: {w}" if len(pairs) > 1 else w for p in pairs for w in p.plain_warnings],
    )


def notebook_direction(pair: PairMeasurements) -> Direction:
    """Student to teacher between causal models, as in the GPT notebooks; teacher to student as in those with BERT."""
    return "student" if pair.teacher_model.is_causal and pair.student_model.is_causal else "teacher"


def variants(pair: PairMeasurements) -> list[Variant]:
    """The definitions in turn, each nearer to the notebooks.

    Raises:
        OptionError: The similarity is undefined between the models.
    """
    direction, own = notebook_direction(pair), pair.settings
    order = "student to teacher" if direction == "student" else "teacher to student"
    text = _score(pair, TEXT, "the paper's text: Eq. 5 to 8", direction="teacher", similarity=own.similarity)
    words = "the same sweep, |change| over its sum (goes with Table 3)"
    scoring = _score(pair, SCORING, words, direction="teacher", similarity=own.similarity)
    words = f"also mean patterns of heads, {order}"
    patterns = _score(pair, PATTERNS, words, direction=direction, similarity="pattern")
    short = measure_pair(
        pair.teacher_model,
        pair.student_model,
        pair.task,
        n_prompts=min(NOTEBOOK_PROMPTS, own.n_prompts),
        ablation=Ablation.ZERO,
        similarity="pattern",
        bootstrap=own.bootstrap,
        null=own.null,
        controls=False,
        seed=own.seed,
        batch_size=pair.batch_size,
        resume=pair.resume,
        command=pair.command,
        progress=pair.progress,
    )
    words = f"also ablation by zeros, {NOTEBOOK_PROMPTS} prompts at most"
    zero = _score(short, ZERO, words, direction=direction, similarity="pattern")
    return [text, scoring, patterns, zero]


def _score(
    pair: PairMeasurements,
    key: str,
    words: str,
    *,
    direction: Direction,
    similarity: SimilarityOption,
) -> Variant:
    normalize: Normalize = pair.settings.normalize if key == TEXT else "l1"
    sign: Sign = "clamp" if key == TEXT else "abs"
    settings = replace(
        pair.settings,
        normalize=normalize,
        influence_sign=sign,
        direction=direction,
        similarity=similarity,
        null="none" if pair.settings.null == "none" else "shuffle",
    )
    measured = pair.similarity(similarity)
    teacher, student = (replace(side, normalize=normalize, sign=sign) for side in (pair.teacher, pair.student))
    matching = match_influences(measured, teacher, student, settings)
    return Variant(
        key=key,
        words=words,
        normalize=normalize,
        sign=sign,
        direction=direction,
        similarity=similarity,
        ablation=pair.settings.ablation,
        n_prompts=len(teacher.clean),
        scores=score_matching(matching, measured, teacher, student, settings=settings),
    )


def _table(found: dict[str, list[Variant]]) -> StudyTable:
    rows: list[dict[str, Cell]] = [
        {
            "task": task,
            "variant": one.key,
            "definition": one.words,
            "score": one.scores.score,
            "ci95": one.scores.ci95,
            "null": None if one.scores.shuffle is None else one.scores.shuffle.mean,
            "p": None if one.scores.shuffle is None else one.scores.shuffle.p,
            "mean_similarity": one.scores.mean_similarity,
            "normalize": f"{one.normalize}, {one.sign}",
            "similarity": one.similarity,
            "direction": f"{one.direction} first",
            "ablation": one.ablation.value,
            "n_prompts": one.n_prompts,
        }
        for task, each in found.items()
        for one in each
    ]
    return StudyTable(
        title="One score, four definitions",
        columns=(
            Column(name="task", title="task", kind="text"),
            Column(name="variant", title="variant", kind="text"),
            Column(name="definition", title="definition", kind="text"),
            Column(name="score", title="A"),
            Column(name="ci95", title="95%", kind="interval"),
            Column(name="null", title="A, influences shuffled"),
            Column(name="p", title="p against it"),
            Column(name="mean_similarity", title="mean similarity"),
            Column(name="normalize", title="influence", kind="text"),
            Column(name="similarity", title="similarity", kind="text"),
            Column(name="direction", title="direction", kind="text"),
            Column(name="ablation", title="ablation", kind="text"),
            Column(name="n_prompts", title="prompts", kind="count"),
        ),
        rows=tuple(rows),
        note="Each row changes what it says and keeps the changes of the rows above it.",
    )


def _findings(found: dict[str, list[Variant]]) -> tuple[str, ...]:
    return tuple(
        f"On {task}, A is " + ", ".join(f"{one.scores.score:.3f} ({one.key})" for one in each) + "."
        for task, each in found.items()
    )


def _figure(found: dict[str, list[Variant]]) -> Chart:
    series: list[Series] = []
    for task, each in found.items():
        ends = [one.scores.ci95 for one in each]
        series.append(
            Series(
                name=task,
                x=tuple(one.key for one in each),
                y=tuple(one.scores.score for one in each),
                low=tuple(None if e is None else e[0] for e in ends),
                high=tuple(None if e is None else e[1] for e in ends),
            )
        )
    return Chart(
        kind="bars", title="A by definition", x_title="definition", y_title="alignment A", series=tuple(series),
        note="Bars: 95% intervals over prompts.",
    )  # fmt: skip
