"""Summary of probes for a terminal, on standard error."""

from rich.table import Table
from rich.text import Text

from circuitkit.cli.console import notice, stderr
from circuitkit.core.utf8 import printable
from circuitkit.probes.result import ProbeResult, RowScore


def probe_table(result: ProbeResult) -> None:
    """Print one line a target and model: chance, embedding, where it becomes decodable, the best row."""
    names = [result.model.name, *([] if result.student is None else [result.student.name])]
    heading = f"{' and '.join(names)} on {result.task['name']}, {result.settings['of']}"
    stderr().print(_text(f"{heading}: accuracy (prior-occurrence: AUROC)", "bold"))
    who = {"model": names[0], "student": names[-1], "random": "random weights"}
    table = Table("target", "model", "chance", "embed", "first told", "best", "shuffled")
    for curve in result.curves:
        first, best = curve.first, curve.best
        table.add_row(
            _text(curve.question.target),
            _text(who[curve.who]),
            f"{curve.question.chance:.3f}",
            f"{curve.rows[0].value:.3f}",
            _at(first) if first is not None else "nowhere" if curve.tested else "not tested",
            _at(best),
            f"{best.control:.3f}",
        )
    stderr().print(table)
    for warning in result.warnings:
        notice(f"note: {warning}")


def _at(score: RowScore) -> str:
    return f"{score.row.name} {score.value:.3f}"


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text.strip()), style=style)
