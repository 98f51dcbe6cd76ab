"""Principal components of what matched MLPs write at END, teacher beside student."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import torch

from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.pca_figures import pca_figures
from circuitkit.experiments.pca_matched import Grouping, grouping, matched_pca
from circuitkit.experiments.pca_tables import directions_table, planes_table, points_table
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, StudyTable, number
from circuitkit.roles.significance import adjusted

SOURCE = "Distilled Circuits (Haskins & Adams 2026), section 3.2.2 and its MLP notebook: PCA and CCA of MLP activations"
MLP_PAIRS = 3
_CLAIMED = 0.05


def pca_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """How the outputs of matched MLPs at END vary over prompts, and whether student and teacher vary alike.

    Args:
        pairs: The pair, alone.
        options: `top`: how many matched pairs of MLPs are drawn, the teacher's most influential first.
        progress: Called as prompts are run.

    Raises:
        OptionError: There are fewer than two prompts.
    """
    (pair,) = pairs
    found = matched_pca(pair, progress=progress)
    drawn = found[: options.top or MLP_PAIRS]
    by = grouping(pair.batches[0])
    directions, planes = directions_table(pair, found), planes_table(pair, found, by)
    return make_study(
        pairs,
        name="pca",
        title="Principal components of matched MLPs",
        source=SOURCE,
        findings=_findings(directions, planes, by),
        caution=(
            "MLPs are matched by similarity of their outputs over all tokens, components are of END alone. Directions "
            "of large variance need not be those that the model uses; that prompts lie alike in both planes says that "
            "what varies is the same, not that it is written in the same directions."
        ),
        tables={"planes": planes, "directions": directions, "points": points_table(drawn, by)},
        figures=pca_figures(drawn, directions, by),
        settings={**pair.settings.to_dict(), "top": len(drawn), "directions": found[0].pca.teacher.shape[1]},
        notices=(*pair.plain_warnings, *pair.similarity().notices, *_notices(pair)),
    )


def _notices(pair: PairMeasurements) -> tuple[str, ...]:
    alike = pair.teacher_model.info.d_model == pair.student_model.info.d_model
    return () if alike else ("Widths differ: directions of different width have no cosine.",)


def _findings(directions: StudyTable, planes: StudyTable, by: Grouping) -> tuple[str, ...]:
    rows = planes.rows
    out: list[str] = []
    known = [row for row in rows if row["canonical"] is not None]
    if known:
        p = adjusted(torch.tensor([number(row["canonical_p"]) for row in known], dtype=torch.float64))
        out.append(
            f"In {int((p <= _CLAIMED).sum())} of {len(known)} matched pairs of MLPs the prompts lie alike in both "
            f"planes of the first two directions (false discovery rate {_CLAIMED:g}): canonical correlation "
            f"{fmean(number(r['canonical']) for r in known):.2f} on average, "
            f"{fmean(number(r['canonical_null']) for r in known):.2f} for mismatched prompts."
        )
        first, chance = sum(r["canonical_rank"] == 1 for r in known), sum(1 / number(r["of"]) for r in known)
        beside = [number(row["canonical_others"]) for row in known if row["canonical_others"] is not None]
        if beside:
            out.append(
                f"With the student's other MLPs it is {fmean(beside):.2f}; in {first} of {len(known)} pairs the match "
                f"has the highest of all, {chance:.1f} would by chance."
            )
    for who in ("teacher", "student"):
        mean = fmean(number(row[f"{who}_variance"]) for row in rows)
        null = fmean(number(row[f"{who}_variance_null"]) for row in rows)
        said = f"In the {who} the first two directions hold {mean:.0%} of the variance on average ({null:.0%} shuffled)"
        own = [row for row in rows if row[f"{who}_between"] is not None]
        if own:
            share, chance = (fmean(number(r[f"{who}_between{end}"]) for r in own) for end in ("", "_null"))
            said += f"; {share:.0%} of that lies between {by.name}s ({chance:.0%} by chance)"
        out.append(f"{said}.")
    first = [row for row in directions.rows if row["direction"] == 1 and row["cosine"] is not None]
    if first:
        out.append(
            f"The first directions of matched MLPs have a cosine of {fmean(number(r['cosine']) for r in first):.2f} on "
            f"average{_beside(first)}; two random directions {number(first[0]['cosine_null']):.2f}."
        )
    return tuple(out)


def _beside(rows: Sequence[Mapping[str, Cell]]) -> str:
    known = [number(row["cosine_others"]) for row in rows if row["cosine_others"] is not None]
    return f", with the student's other MLPs {fmean(known):.2f}" if known else ""
