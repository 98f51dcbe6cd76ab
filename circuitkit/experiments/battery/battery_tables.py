"""Tables, figures and sentences of the battery."""

from collections.abc import Mapping, Sequence

from circuitkit.experiments.battery.laws import LAWS, Outcome, Verdict
from circuitkit.experiments.battery.scores import SCORES
from circuitkit.experiments.battery.student import student_spec
from circuitkit.experiments.study_figure import Chart, Series, StudyFigure
from circuitkit.experiments.study_table import Cell, Column, StudyTable

Setting = tuple[str, str]
Verdicts = Mapping[tuple[str, Setting], Mapping[str, Verdict]]
DRAWN = ("F", "A")


def laws_table(verdicts: Verdicts) -> StudyTable:
    """One row a score: on how many families and tasks it keeps each law, and the worst figure."""
    rows: list[dict[str, Cell]] = []
    for score in SCORES:
        cells: dict[str, Cell] = {"score": score.key}
        for law in LAWS:
            cells[law] = _summary([found[law] for (key, _), found in verdicts.items() if key == score.key])
        rows.append(cells)
    return StudyTable(
        title="Laws that scores keep",
        columns=(
            Column(name="score", title="score", kind="text"),
            *(Column(name=law, title=law, kind="text") for law in LAWS),
        ),
        rows=tuple(rows),
        note="Kept on so many families and tasks of those where it could be tried; - where it could be tried on none. "
        + " ".join(f"{name.capitalize()}: {law.title}." for name, law in LAWS.items())
        + " "
        + " ".join(f"{score.key}: {score.title}." for score in SCORES if score.key != score.title),
    )


def _summary(found: Sequence[Verdict]) -> str | None:
    tried = [verdict for verdict in found if verdict.passed is not None]
    if not tried:
        return None
    kept = sum(bool(verdict.passed) for verdict in tried)
    return "kept" if kept == len(tried) else f"broken, {len(tried) - kept} of {len(tried)}"


def verdicts_table(verdicts: Verdicts) -> StudyTable:
    """One row a score, family, task and law, with the figure it rests on."""
    return StudyTable(
        title="Every law on every family and task",
        columns=(
            Column(name="score", title="score", kind="text"),
            Column(name="family", title="family", kind="text"),
            Column(name="task", title="task", kind="text"),
            Column(name="law", title="law", kind="text"),
            Column(name="kept", title="kept", kind="flag"),
            Column(name="figure", title="figure", digits=5),
            Column(name="p", title="p over seeds", digits=4),
            Column(name="note", title="which students", kind="text"),
        ),
        rows=tuple(
            {
                "score": score,
                "family": family,
                "task": task,
                "law": law,
                "kept": verdict.passed,
                "figure": verdict.figure,
                "p": verdict.p,
                "note": verdict.note,
            }
            for (score, (family, task)), found in verdicts.items()
            for law, verdict in found.items()
        ),
        note="Figures: " + "; ".join(f"{name}: {law.figure}" for name, law in LAWS.items()) + ". "
        "P: Page's trend test for orders, Mann-Whitney for shortcuts.",
    )


def students_table(outcomes: Mapping[Setting, Sequence[Outcome]]) -> StudyTable:
    """One row a student, its seed, family and task, with every score."""
    scores: list[Column] = []
    for score in SCORES:
        scores.append(Column(name=score.key, title=score.key, unit=score.unit))
        scores.append(Column(name=f"{score.key} ci95", title="95%", kind="interval"))
    return StudyTable(
        title="Every student and its scores",
        columns=(
            Column(name="family", title="family", kind="text"),
            Column(name="task", title="task", kind="text"),
            Column(name="student", title="student", kind="text"),
            Column(name="made", title="how it is made", kind="text"),
            Column(name="seed", title="seed", kind="count"),
            Column(name="agrees", title="right, cue agrees", digits=2),
            Column(name="broken", title="right, cue broken", digits=2),
            Column(name="logit_diff", title="logit difference", unit="logits", digits=2),
            *scores,
        ),
        rows=tuple(_row(setting, outcome) for setting, some in outcomes.items() for outcome in some),
        note="Scores are on prompts whose cue agrees with the answer: the IO comes second, or the last noun stands "
        "for the next number.",
    )


def _row(setting: Setting, outcome: Outcome) -> dict[str, Cell]:
    cells: dict[str, Cell] = {
        "family": setting[0],
        "task": setting[1],
        "student": outcome.key,
        "made": student_spec(outcome.key).title,
        "seed": outcome.seed,
        "agrees": outcome.agrees,
        "broken": outcome.broken,
        "logit_diff": outcome.logit_diff,
    }
    for score in SCORES:
        measured = outcome.scores.get(score.key)
        cells[score.key] = None if measured is None else measured.score
        cells[f"{score.key} ci95"] = None if measured is None else measured.ci95
    return cells


def score_figures(outcomes: Mapping[Setting, Sequence[Outcome]]) -> dict[str, StudyFigure]:
    """F and A of every student, a figure a family and task; of several seeds the first."""
    return {
        f"{family}-{task}": Chart(
            kind="bars",
            title=f"F and A on {task}, {family}",
            x_title="student",
            y_title="score",
            series=tuple(_series(key, [o for o in some if o.seed == some[0].seed]) for key in DRAWN),
            note="Bars: 95% intervals over prompts; students of the first seed.",
        )
        for (family, task), some in outcomes.items()
        if some
    }


def _series(key: str, some: Sequence[Outcome]) -> Series:
    measured = [o.scores[key] for o in some]
    return Series(
        name=key,
        x=tuple(o.key for o in some),
        y=tuple(m.score for m in measured),
        low=tuple(None if m.ci95 is None else m.ci95[0] for m in measured),
        high=tuple(None if m.ci95 is None else m.ci95[1] for m in measured),
        who="student" if key == DRAWN[0] else "null",
    )


def findings(verdicts: Verdicts) -> tuple[str, ...]:
    """F first: what it keeps and where it fails; then the scores that keep all laws, and A."""
    settings = list(dict.fromkeys(setting for _, setting in verdicts))
    sentences = [_about(key, settings, verdicts) for key in DRAWN]
    good = [
        s.key for s in SCORES if all(v.passed is not False for at in settings for v in verdicts[s.key, at].values())
    ]
    others = ", ".join(key for key in good if key not in DRAWN) or "none"
    return (*sentences, f"Of the other scores these keep every law that could be tried: {others}.")


def _about(key: str, settings: Sequence[Setting], verdicts: Verdicts) -> str:
    tried = [(at, law, v) for at in settings for law, v in verdicts[key, at].items() if v.passed is not None]
    failed = [f"{law} on {family} {task}" for (family, task), law, v in tried if not v.passed]
    kept = f"{key} keeps {len(tried) - len(failed)} of {len(tried)} laws tried"
    return f"{kept}." if not failed else f"{kept}; it breaks {', '.join(failed)}."
