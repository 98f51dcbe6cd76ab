"""Tables, figures and sentences of the noise study."""

from collections.abc import Sequence
from statistics import fmean, stdev

from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.noise import SHUFFLES, NoiseMeasurements, NoisePoint, measure_noise
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_figure import Chart, Series, StudyFigure, Who
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, Column, StudyTable

SOURCE = "Distilled Circuits (Haskins & Adams 2026), section 4.2.1, Figure 3"
_WHERE = {
    "compared": "noise on what is compared",
    "forward": "noise in the student's run",
}
_COLOURS: dict[str, Who] = {"compared": "teacher", "forward": "student"}


def noise_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """Alignment over the standard deviation of Gaussian noise on the student's activations; see `measure_noise`.

    Args:
        pairs: The pair, alone.
        options: `levels`, `repeats`, `where` and `unit`.
        progress: Called as draws are scored.

    Raises:
        OptionError: A level is negative, or the similarity has no means to add noise to.
    """
    (pair,) = pairs
    found = measure_noise(pair, options, progress=progress)
    return make_study(
        pairs,
        name="noise",
        title="Does alignment fall as the student's activations get noise?",
        source=SOURCE,
        findings=_findings(found),
        caution=(
            "That the score falls under noise shows that it is sensitive to activations, not that it measures "
            "mechanism. With noise on what is compared, influences stay as they were: all that falls is similarity. "
            "Noise of a given size means different things in models of different scale; --unit rms puts it in each "
            "component's own."
        ),
        tables={"levels": _levels_table(found), "draws": _draws_table(found)},
        figures=_figures(found),
        settings={
            **pair.settings.to_dict(),
            "levels": list(found.levels),
            "repeats": found.repeats,
            "where": list(found.where),
            "unit": found.unit,
        },
        notices=pair.warnings,
    )


def unit_in_words(unit: str) -> str:
    """What a standard deviation of 1 is."""
    return "activation units" if unit == "activation" else "root mean squares of the component"


def _levels_table(found: NoiseMeasurements) -> StudyTable:
    rows: list[dict[str, Cell]] = []
    for where in found.where:
        for sd in found.levels:
            points = found.at(where, sd)
            scores, nulls = [p.score for p in points], _nulls(points)
            rows.append(
                {
                    "where": where,
                    "sd": sd,
                    "score": fmean(scores),
                    "ci95": found.interval(where, sd),
                    "spread": stdev(scores) if len(scores) > 1 else None,
                    "range": (min(scores), max(scores)),
                    "null": nulls,
                    "mean_similarity": fmean(p.mean_similarity for p in points),
                    "logit_diff": fmean(p.logit_diff for p in points),
                }
            )
    return StudyTable(
        title="Alignment at each level of noise",
        columns=(
            Column(name="where", title="noise on", kind="text"),
            Column(name="sd", title="standard deviation", unit=unit_in_words(found.unit), digits=2),
            Column(name="score", title="A, mean of the draws"),
            Column(name="ci95", title="95%", kind="interval"),
            Column(name="spread", title="sd of the draws"),
            Column(name="range", title="least to greatest", kind="interval"),
            Column(name="null", title="A, influences shuffled"),
            Column(name="mean_similarity", title="mean similarity"),
            Column(name="logit_diff", title="student's logit difference", unit="logits", digits=2),
        ),
        rows=tuple(rows),
        note=f"{found.repeats} draws of noise at each level, of the same seeds at all levels. The interval holds both "
        f"the prompts, drawn anew, and the draws of noise. Influences are shuffled {SHUFFLES} times for each draw.",
    )


def _nulls(points: Sequence[NoisePoint]) -> float | None:
    known = [p.null for p in points if p.null is not None]
    return fmean(known) if known else None


def _draws_table(found: NoiseMeasurements) -> StudyTable:
    return StudyTable(
        title="Every draw",
        columns=(
            Column(name="where", title="noise on", kind="text"),
            Column(name="sd", title="standard deviation", unit=unit_in_words(found.unit), digits=2),
            Column(name="seed", title="seed", kind="count"),
            Column(name="score", title="A"),
            Column(name="mean_similarity", title="mean similarity"),
            Column(name="logit_diff", title="student's logit difference", unit="logits", digits=2),
        ),
        rows=tuple(
            {
                "where": p.where,
                "sd": p.sd,
                "seed": p.seed,
                "score": p.score,
                "mean_similarity": p.mean_similarity,
                "logit_diff": p.logit_diff,
            }
            for p in found.points
        ),
    )


def _findings(found: NoiseMeasurements) -> tuple[str, ...]:
    out: list[str] = []
    for where in found.where:
        means = [found.mean(where, sd) for sd in found.levels]
        rank = found.spearman(where)
        falls = "" if rank is None else f" Rank correlation of A with the level: {rank:.3f}."
        steps = sum(b > a for a, b in zip(means, means[1:], strict=False))
        if len(means) == 1:
            out.append(f"With {_WHERE[where]}, A is {means[0]:.3f} at {found.levels[0]:g} {unit_in_words(found.unit)}.")
            continue
        out.append(
            f"With {_WHERE[where]}, A goes from {means[0]:.3f} at {found.levels[0]:g} to {means[-1]:.3f} at "
            f"{found.levels[-1]:g} {unit_in_words(found.unit)}.{falls} It rises in {steps} of {len(means) - 1} steps."
        )
    if found.floor is not None:
        ends = f" ({min(found.floor):.3f} to {max(found.floor):.3f} over seeds)" if len(found.floor) > 1 else ""
        out.append(
            f"Activations that are noise and nothing else score {fmean(found.floor):.3f}{ends}, with influences as "
            "measured."
        )
    return tuple(out)


def _figures(found: NoiseMeasurements) -> dict[str, StudyFigure]:
    figures: dict[str, StudyFigure] = {"alignment": _figure(found)}
    if "forward" in found.where:
        figures["logit_diff"] = _run_figure(found)
    return figures


def _figure(found: NoiseMeasurements) -> Chart:
    series: list[Series] = []
    for where in found.where:
        ends = [found.interval(where, sd) or _range(found.at(where, sd)) for sd in found.levels]
        series.append(
            Series(
                name=f"A, {_WHERE[where]}",
                x=found.levels,
                y=tuple(found.mean(where, sd) for sd in found.levels),
                low=tuple(e[0] for e in ends),
                high=tuple(e[1] for e in ends),
                who=_COLOURS[where],
            )
        )
        nulls = tuple(_nulls(found.at(where, sd)) for sd in found.levels)
        if any(n is not None for n in nulls):
            beside = "" if len(found.where) == 1 else f", {where}"
            series.append(Series(name=f"influences shuffled{beside}", x=found.levels, y=nulls, who="null"))
    return Chart(
        kind="lines",
        title="Alignment over the standard deviation of the noise",
        x_title=f"standard deviation of the noise, {unit_in_words(found.unit)}",
        y_title="alignment A",
        series=tuple(series),
        levels=() if found.floor is None else (("noise alone", fmean(found.floor)),),
        note=f"Bands or bars: {_meaning(found)}. Dotted: the student's activations are noise alone.",
    )


def _meaning(found: NoiseMeasurements) -> str:
    """What the bands of the figure are: without bootstrap draws, nothing is known of other prompts."""
    if all(p.draws is not None for p in found.points):
        return "95% over prompts and draws of noise"
    return "from the least to the greatest of the draws of noise; other prompts are not reckoned with"


def _range(points: Sequence[NoisePoint]) -> tuple[float, float]:
    scores = [p.score for p in points]
    return min(scores), max(scores)


def _run_figure(found: NoiseMeasurements) -> Chart:
    return Chart(
        kind="lines",
        title="The student's logit difference under the same noise",
        x_title=f"standard deviation of the noise, {unit_in_words(found.unit)}",
        y_title="mean logit difference, logits",
        series=(
            Series(
                name="student with noise in its run",
                x=found.levels,
                y=tuple(fmean(p.logit_diff for p in found.at("forward", sd)) for sd in found.levels),
                who="student",
            ),
        ),
    )
