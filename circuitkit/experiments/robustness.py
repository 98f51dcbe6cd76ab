"""What the loss of one component costs teacher and student (Table 2, App. K and L of Distilled Circuits)."""

from collections.abc import Sequence

from circuitkit.alignment.robustness import measure_robustness
from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.robustness_tables import (
    components_table,
    histogram_figure,
    histogram_table,
    robustness_findings,
    summary_table,
)
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_options import StudyOptions

SOURCE = "Distilled Circuits (Haskins & Adams 2026), Table 2, Appendices K and L"


def robustness_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """Mean drop, shares over 10% and 20%, histogram, compression and brittleness of one pair on one task.

    Args:
        pairs: The pair, alone.
        options: Nothing is taken from it.
        progress: Called when done.
    """
    (pair,) = pairs
    teacher, student = pair.teacher, pair.student
    robust = measure_robustness(teacher, student, weights=teacher.weights())
    progress("robustness", 1, 1)
    tables = {
        "summary": summary_table(robust, teacher, student),
        "histogram": histogram_table(teacher, student),
        "components": components_table(teacher, student),
    }
    return make_study(
        pairs,
        name="robustness",
        title="What the loss of one component costs, and what compression adds",
        source=SOURCE,
        findings=robustness_findings(robust, tables["summary"].rows),
        caution=(
            "A student with fewer components must spread the same work over fewer: compare its mean drop with the row "
            "that only counts components, before calling it brittle. Drops above 100% and below 0 are cut off."
        ),
        tables=tables,
        figures={"histogram": histogram_figure(tables["histogram"])},
        settings=pair.settings.to_dict(),
        notices=pair.plain_warnings,
    )
