"""Prompts in the plane of the first two directions, teacher beside student, and what the directions hold."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from circuitkit.experiments.pca_matched import OTHERS, Grouping, MatchedPca
from circuitkit.experiments.study_figure import Chart, Points, Scatter, Series, StudyFigure, Who
from circuitkit.experiments.study_table import StudyTable, number

_WHO: tuple[Who, Who] = ("teacher", "student")


def pca_figures(drawn: Sequence[MatchedPca], directions: StudyTable, by: Grouping) -> dict[str, StudyFigure]:
    """Planes of the drawn MLPs, then the shares of variance of all."""
    figures: dict[str, StudyFigure] = {}
    for one in drawn:
        shares = one.pca.teacher_variance, one.pca.student_variance
        for (who, _, coordinates), variance, name in zip(one.sides, shares, one.names.values(), strict=True):
            if coordinates.shape[1] > 1:
                key = f"{one.names['teacher']}-{one.names['student']}-{who}"
                figures[key] = _plane(f"{who.title()} {name}", coordinates, variance, by)
    return {**figures, "variance": _variance(directions), **_cosines(directions)}


def _plane(
    whose: str, coordinates: Float[Tensor, "prompt direction"], variance: Float[Tensor, " direction"], by: Grouping
) -> Scatter:
    points = coordinates[:, :2].tolist()
    members: dict[str, list[list[float]]] = {name: [] for name in (*by.shown, OTHERS)}
    for point, group in zip(points, by.groups, strict=True):
        members[group if group in by.shown else OTHERS].append(point)
    groups = tuple(
        Points(name=name, x=tuple(round(x, 5) for x, _ in own), y=tuple(round(y, 5) for _, y in own))
        for name, own in members.items()
        if own
    )
    titles = [f"direction {k + 1} ({share:.0%} of the variance)" for k, share in enumerate(variance[:2].tolist())]
    return Scatter(
        title=f"{whose} at END, every prompt",
        x_title=titles[0],
        y_title=titles[1],
        groups=groups,
        note=f"Coloured by {by.name}{', the commonest apart' if members[OTHERS] else ''}.",
    )


def _variance(directions: StudyTable) -> Chart:
    rows = [row for row in directions.rows if row["direction"] == 1]
    x = tuple(f"{row['teacher']} / {row['student']}" for row in rows)
    series: list[Series] = []
    for who in _WHO:
        ends = [row[f"{who}_ci95"] for row in rows]
        known = all(isinstance(pair, tuple) for pair in ends)
        low, high = ([pair[i] if isinstance(pair, tuple) else None for pair in ends] for i in (0, 1))
        series.append(
            Series(
                name=who,
                x=x,
                y=tuple(number(row[f"{who}_variance"]) for row in rows),
                low=tuple(low) if known else None,
                high=tuple(high) if known else None,
                who=who,
            )
        )
        series.append(
            Series(name=f"{who}, shuffled", x=x, y=tuple(number(row[f"{who}_null"]) for row in rows), who="null")
        )
    return Chart(
        kind="bars",
        title="Share of the variance along the first direction",
        x_title="teacher MLP / its match, most influential first",
        y_title="share of variance",
        series=tuple(series),
    )


def _cosines(directions: StudyTable) -> dict[str, StudyFigure]:
    rows = [row for row in directions.rows if row["direction"] == 1]
    if any(row["cosine"] is None for row in rows):
        return {}
    x = tuple(f"{row['teacher']} / {row['student']}" for row in rows)
    series = [Series(name="matched MLPs", x=x, y=tuple(number(row["cosine"]) for row in rows))]
    if all(row["cosine_others"] is not None for row in rows):
        beside = tuple(number(row["cosine_others"]) for row in rows)
        series.append(Series(name="with the student's other MLPs", x=x, y=beside, who="null"))
    return {
        "cosines": Chart(
            kind="bars",
            title="Do the first directions point the same way?",
            x_title="teacher MLP / its match, most influential first",
            y_title="absolute cosine",
            series=tuple(series),
            levels=(("random directions", number(rows[0]["cosine_null"])),),
        )
    }
