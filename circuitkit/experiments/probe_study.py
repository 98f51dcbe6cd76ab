"""What a linear probe can tell, layer by layer, in teacher and student (App. J, Figs. 23 to 26)."""

from collections.abc import Sequence

from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_figure import Chart, Series, StudyFigure, Who
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, Column, StudyTable
from circuitkit.probes.options import ProbeOptions
from circuitkit.probes.plan import plan_probes
from circuitkit.probes.result import Curve, ProbeResult, RowScore

SOURCE = "Distilled Circuits (Haskins & Adams 2026), Appendix J, Figures 23 to 26"
_NAMES = {"model": "teacher", "student": "student"}
_COLOURS: dict[str, Who] = {"model": "teacher", "student": "student"}


def probe_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """Probe both models for every target that the task's labels give, on the same prompts; see `plan_probes`.

    Args:
        pairs: The pair, alone.
        options: Nothing is taken from it.
        progress: Called as probes are fitted.

    Raises:
        OptionError: The task gives no target, or too few prompts for held-out content.
        TaskError: Too few prompts can be used.
    """
    (pair,) = pairs
    s = pair.settings
    plan = plan_probes(
        pair.teacher_model,
        pair.task,
        student=pair.student_model,
        options=ProbeOptions(n_prompts=s.n_prompts, bootstrap=s.bootstrap, seed=s.seed, batch_size=pair.batch_size),
        progress=progress,
    )
    found = plan.run(resume=pair.resume, command=pair.command, progress=progress)
    return make_study(
        pairs,
        name="probes",
        title="What a linear probe can tell, layer by layer",
        source=SOURCE,
        tasks=[found.task],
        findings=_findings(found),
        caution=(
            "That a probe can tell something does not show that the model uses it. Held-out prompts share no content "
            "with fitted ones; the paper does not say how its prompts were split."
        ),
        tables={"targets": _targets_table(found), "curves": _curves_table(found)},
        figures=_figures(found),
        settings={**found.settings, "fits": found.n_fits},
        notices=found.warnings,
    )


def blocks_read(curve: Curve, score: RowScore) -> int:
    """Blocks that a row's activations have passed: 0 for the embedding."""
    return 0 if score is curve.rows[0] else score.row.layer + 1


def _pairs_of(found: ProbeResult) -> list[tuple[Curve, Curve | None]]:
    students = {c.question.target: c for c in found.curves if c.who == "student"}
    return [(c, students.get(c.question.target)) for c in found.curves if c.who == "model"]


def _targets_table(found: ProbeResult) -> StudyTable:
    rows: list[dict[str, Cell]] = []
    for teacher, student in _pairs_of(found):
        row: dict[str, Cell] = {
            "target": teacher.question.target,
            "metric": teacher.question.metric,
            "chance": teacher.question.chance,
        }
        for who, curve in (("teacher", teacher), ("student", student)):
            first = None if curve is None else curve.first
            row |= {
                f"{who}_from": None if curve is None else "nowhere" if first is None else first.row.name,
                f"{who}_best": None if curve is None else curve.best.row.name,
                f"{who}_value": None if curve is None else curve.best.value,
                f"{who}_ci95": None if curve is None else curve.best.ci95,
                f"{who}_control": None if curve is None else curve.best.control,
            }
        rows.append(row)
    sides = [
        column
        for who in ("teacher", "student")
        for column in (
            Column(name=f"{who}_from", title=f"{who}: told from", kind="text"),
            Column(name=f"{who}_best", title="best at", kind="text"),
            Column(name=f"{who}_value", title="value there"),
            Column(name=f"{who}_ci95", title="95%", kind="interval"),
            Column(name=f"{who}_control", title="shuffled labels"),
        )
    ]
    return StudyTable(
        title="Where each target can be told",
        columns=(
            Column(name="target", title="target", kind="text"),
            Column(name="metric", title="metric", kind="text"),
            Column(name="chance", title="chance"),
            *sides,
        ),
        rows=tuple(rows),
        note="Told from: the first layer at which more is told than from the embedding and than by chance, by .02 and "
        "with adjusted p < .05.",
    )


def _curves_table(found: ProbeResult) -> StudyTable:
    rows: list[dict[str, Cell]] = [
        {
            "model": _NAMES[curve.who],
            "target": curve.question.target,
            "row": score.row.name,
            "blocks": blocks_read(curve, score),
            "value": score.value,
            "ci95": score.ci95,
            "control": score.control,
            "selectivity": score.selectivity,
            "selectivity_ci95": score.selectivity_ci95,
            "p": score.p,
            "told": score.decodable,
        }
        for curve in found.curves
        for score in curve.rows
    ]
    return StudyTable(
        title="Every probe",
        columns=(
            Column(name="model", title="model", kind="text"),
            Column(name="target", title="target", kind="text"),
            Column(name="row", title="layer", kind="text"),
            Column(name="blocks", title="blocks read", kind="count"),
            Column(name="value", title="value"),
            Column(name="ci95", title="95%", kind="interval"),
            Column(name="control", title="shuffled labels"),
            Column(name="selectivity", title="selectivity"),
            Column(name="selectivity_ci95", title="95%", kind="interval"),
            Column(name="p", title="adjusted p"),
            Column(name="told", title="told", kind="flag"),
        ),
        rows=tuple(rows),
        note="Accuracy, or AUROC for prior occurrence, on prompts whose content was held out. Selectivity: value minus "
        "that with shuffled labels (Hewitt & Liang 2019).",
    )


def _figures(found: ProbeResult) -> dict[str, StudyFigure]:
    figures: dict[str, StudyFigure] = {}
    for teacher, student in _pairs_of(found):
        q = teacher.question
        series: list[Series] = []
        for curve in (teacher, student):
            if curve is None:
                continue
            blocks = tuple(float(blocks_read(curve, score)) for score in curve.rows)
            known = all(score.ci95 is not None for score in curve.rows)
            series.append(
                Series(
                    name=_NAMES[curve.who],
                    x=blocks,
                    y=tuple(score.value for score in curve.rows),
                    low=tuple(score.ci95[0] for score in curve.rows if score.ci95) if known else None,
                    high=tuple(score.ci95[1] for score in curve.rows if score.ci95) if known else None,
                    who=_COLOURS[curve.who],
                )
            )
            series.append(
                Series(
                    name=f"{_NAMES[curve.who]}, shuffled labels",
                    x=blocks,
                    y=tuple(score.control for score in curve.rows),
                    who="null",
                )
            )
        figures[q.target] = Chart(
            kind="lines",
            title=f"{q.target}: {q.about}",
            x_title="blocks read (0: the embedding)",
            y_title=f"{q.metric}, held-out prompts",
            series=tuple(series),
            levels=(("chance", q.chance),),
            note=q.folds.content.rule,
        )
    return figures


def _findings(found: ProbeResult) -> tuple[str, ...]:
    out: list[str] = []
    for teacher, student in _pairs_of(found):
        sides = [f"{_NAMES[c.who]} {_reached(c)}" for c in (teacher, student) if c is not None]
        out.append(f"{teacher.question.target}: {'; '.join(sides)}.")
    return tuple(out)


def _reached(curve: Curve) -> str:
    best = curve.best
    if curve.first is None:
        return f"at no layer more than from the embedding and by chance (best {best.value:.2f})"
    return f"from {curve.first.row.name}, best {best.value:.2f} at {best.row.name} ({best.control:.2f} shuffled)"
