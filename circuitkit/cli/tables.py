"""Summaries of results for a terminal, on standard error."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from circuitkit.alignment.result import AlignmentResult
from circuitkit.cli.console import notice, stderr
from circuitkit.cli.fingerprint_lines import beside_table, fingerprint_lines
from circuitkit.cli.numbers import interval, number
from circuitkit.core.utf8 import printable
from circuitkit.discovery.baseline import Baseline
from circuitkit.discovery.influence import Influence

TOP_PAIRS = 10


def alignment_table(result: AlignmentResult) -> None:
    """Print the score with everything that must stand beside it, then the most influential pairs."""
    names = result.teacher.model.name, result.student.model.name
    stderr().print(_plain(f"{names[0]} -> {names[1]} on {result.task['name']}, {_prompts(result)}", "bold"))
    if result.fingerprint is not None and result.reading is not None:
        _print(beside_table(result, result.fingerprint))
        for line in fingerprint_lines(result.fingerprint, reading=result.reading):
            notice(line)
    _print(_figures(result))
    _print(_pairs(result))
    _warn(result.warnings)


def task_table(results: Sequence[AlignmentResult]) -> None:
    """Print one line a task; `before` is the score of the student before distillation."""
    table = Table(
        "task",
        "A",
        "95% interval",
        "null",
        "before",
        "A*",
        "circuit A",
        "F",
        "95% interval",
        "teacher logit diff",
        "student logit diff",
    )
    for result in results:
        scores = result.scores
        table.add_row(
            _plain(str(result.task["name"])),
            f"{scores.score:.3f}",
            _plain(interval(scores.ci95)),
            number(None if scores.shuffle is None else scores.shuffle.mean),
            number(None if result.control is None else result.control.score),
            number(scores.calibrated),
            number(scores.circuit_alignment),
            number(None if result.fingerprint is None else result.fingerprint.F),
            _plain("" if result.fingerprint is None else interval(result.fingerprint.scores["F"].ci95)),
            *(f"{side.baseline.mean:.2f}" for side in (result.teacher, result.student)),
        )
    _print(table)
    for result in results:
        if result.reading is not None:
            notice(f"{result.task['name']}: {result.reading}")
        _warn(tuple(f"{result.task['name']}: {warning}" for warning in result.warnings))


def influence_table(result: Influence) -> None:
    """Print the logit difference and the most influential components."""
    stderr().print(_plain(f"{result.model.name} on {result.task['name']}, {result.task['n_prompts']} prompts", "bold"))
    notice(f"logit difference {_baseline(result.baseline)}")
    table = Table("component", "influence", "95% interval", "drop (logits)", "95% interval")
    for row in result.frame().head(TOP_PAIRS).to_dict("records"):
        name = row["component"] if row["exact"] else f"{row['component']} (est.)"
        cells = name, f"{row['influence']:.3f}", interval(row["ci95"])
        table.add_row(*map(_plain, (*cells, f"{row['drop']:.3f}", interval(row["drop_ci95"]))))
    _print(table)
    _warn(result.warnings)


def _figures(result: AlignmentResult) -> Table:
    scores, robust = result.scores, result.robustness
    table = Table(show_header=False)
    rows = [] if result.fingerprint is not None else _scores(result)
    rows += [
        ("calibrated A*", number(scores.calibrated)),
        ("circuit alignment", f"{number(scores.circuit_alignment)} {interval(scores.circuit_ci95)}"),
        ("mean similarity", f"{scores.mean_similarity:.3f}"),
    ]
    rows += [
        ("teacher logit difference", _baseline(result.teacher.baseline)),
        ("student logit difference", _baseline(result.student.baseline)),
    ]
    for name, side in (("teacher", robust.teacher), ("student", robust.student)):
        value = "not given" if side is None else f"{side.mean_drop:.2f}% {interval(side.ci95, 2)}"
        rows.append((f"{name} mean drop", value))
    if robust.brittleness is not None:
        rows.append(("brittleness", f"{robust.brittleness:.2f} points per unit of compression"))
    for name, value in rows:
        table.add_row(name, _plain(value))
    return table


def _scores(result: AlignmentResult) -> list[tuple[str, str]]:
    """A and what it is held against, where there is no F beside it."""
    scores = result.scores
    rows = [("alignment A", f"{scores.score:.3f} {interval(scores.ci95)}")]
    if scores.shuffle is not None:
        rows.append(("null: influences shuffled", f"{scores.shuffle.mean:.3f} (p = {scores.shuffle.p:.3g})"))
    if scores.random_student is not None:
        rows.append(("null: random students", f"{scores.random_student.mean:.3f} (p = {scores.random_student.p:.3g})"))
    if result.control is not None:
        rows.append(("student before distillation", f"{result.control.score:.3f}"))
    return rows


def _pairs(result: AlignmentResult) -> Table:
    table = Table("teacher", "student", "similarity", "teacher influence", "student influence")
    for row in result.pairs_frame().head(TOP_PAIRS).to_dict("records"):
        figures = (f"{row[key]:.3f}" for key in ("similarity", "teacher_influence", "student_influence"))
        table.add_row(row["teacher"], row["student"], *figures)
    return table


def _prompts(result: AlignmentResult) -> str:
    dropped = int(result.task["n_dropped"])
    return f"{result.task['n_prompts']} prompts" + (f" ({dropped} left out)" if dropped else "")


def _baseline(baseline: Baseline) -> str:
    return f"{baseline.mean:.2f} {interval(baseline.ci95, 2)}, {100 * baseline.accuracy:.0f}% right"


def _plain(text: str, style: str = "") -> Text:
    """Text shown as it is: names and intervals hold square brackets, which rich takes for markup."""
    return Text(printable(text.strip()), style=style)


def _print(table: Table) -> None:
    stderr().print(table)


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        notice(f"note: {warning}")
