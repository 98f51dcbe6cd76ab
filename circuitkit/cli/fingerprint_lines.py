"""The scores A and F side by side for a terminal, and what is said of the fingerprints."""

from rich.table import Table
from rich.text import Text

from circuitkit.alignment.fingerprint_beside import patched_runs
from circuitkit.alignment.fingerprint_result import FingerprintResult
from circuitkit.alignment.result import AlignmentResult
from circuitkit.cli.numbers import interval, number

SHOWN = 6
"""Student components listed that stand for several of the teacher's."""
LEAST = 0.01
"""Share of the teacher's mass below which a component is not worth naming."""


def beside_table(result: AlignmentResult, found: FingerprintResult) -> Table:
    """Every figure that A and F are held against, in two columns."""
    scores, F, ceiling = result.scores, found.scores["F"], found.scores["ceiling"]
    table = Table("", "alignment A", "fingerprint F")
    shuffled = None if scores.shuffle is None else f"{scores.shuffle.mean:.3f} (p = {scores.shuffle.p:.3g})"
    of_f = found.nulls.get("shuffled")
    rows = [
        ("score", f"{scores.score:.3f} {interval(scores.ci95)}", f"{F.score:.3f} {interval(F.ci95)}"),
        ("null: shuffled", shuffled, None if of_f is None else f"{of_f.mean:.3f} (p = {of_f.p:.3g})"),
    ]
    if scores.random_student is not None:
        rows.append(
            ("null: random students", f"{scores.random_student.mean:.3f} (p = {scores.random_student.p:.3g})", None)
        )
    if result.control is not None:
        rows.append(("student before distillation", f"{result.control.score:.3f}", None))
    rows += [
        ("teacher against itself", None, f"{ceiling.score:.3f} {interval(ceiling.ci95)}"),
        ("matched one to one", None, number(found.scores["one_to_one"].score)),
        ("profile of the whole model", None, number(found.scores["profile"].score)),
        ("prompts", str(result.task["n_prompts"]), str(found.task["n_prompts"])),
    ]
    for name, *values in rows:
        table.add_row(name, *(Text((value or "-").strip()) for value in values))
    return table


def fingerprint_lines(found: FingerprintResult, *, reading: str) -> list[str]:
    """What A and F mean together, what F is of, what it took, and which components were merged.

    Args:
        found: The fingerprints.
        reading: What A and F mean beside each other.
    """
    runs = patched_runs(found)
    kept = [
        f"all {len(side.components)}" if screen is None else f"{screen.n_kept} of {screen.n_components}"
        for side, screen in zip((found.teacher, found.student), found.screens, strict=True)
    ]
    merged = _merged(found)
    lines = [
        f"A and F: {reading}",
        f"F is of {kept[0]} teacher and {kept[1]} student components, patched from {', '.join(found.teacher.kinds)} at "
        f"{', '.join(found.teacher.groups)}: at most {runs['teacher']:,} and {runs['student']:,} patched runs.",
    ]
    if merged:
        named = "; ".join(f"S-{one} for {', '.join(f'T-{c}' for c in some)}" for one, some in merged[:SHOWN])
        more = "; more in result.json" if len(merged) > SHOWN else ""
        lines.append(f"Student components that stand for several of the teacher's: {named}{more}.")
    return [*lines, *(f"note: F: {text}" for text in found.notices)]


def _merged(found: FingerprintResult) -> list[tuple[str, list[str]]]:
    """Student components for several of the teacher's, those of next to no mass left out."""
    masses = found.teacher.mean.abs().sum((1, 2))
    heavy = {
        str(c) for c, mass in zip(found.teacher.components, masses.tolist(), strict=True) if mass > LEAST * masses.sum()
    }
    named = [(one, [c for c in some if c in heavy]) for one, some in found.merged.items()]
    return [(one, some) for one, some in named if len(some) > 1]
