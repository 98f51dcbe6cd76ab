"""Tables of principal components: directions, planes and every point that is drawn."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.pca_matched import Grouping, MatchedPca
from circuitkit.experiments.pca_statistics import (
    between_groups,
    plane_agreement,
    plane_interval,
    variance_intervals,
)
from circuitkit.experiments.study_table import Cell, Column, StudyTable

_WHO = ("teacher", "student")


def directions_table(pair: PairMeasurements, found: Sequence[MatchedPca]) -> StudyTable:
    """Every direction by itself: its share of the variance and the cosine with the other model's."""
    weights = pair.teacher.weights()
    width = pair.teacher_model.info.d_model
    rows: list[dict[str, Cell]] = []
    for one in found:
        shares = {"teacher": one.pca.teacher_variance, "student": one.pca.student_variance}
        ends = {who: variance_intervals(x, coordinates, weights) for who, x, coordinates in one.sides}
        nulls = dict(zip(_WHO, one.shuffled, strict=True))
        for k in range(one.pca.teacher.shape[1]):
            row: dict[str, Cell] = {**one.names, "direction": k + 1}
            for who in _WHO:
                row[f"{who}_variance"] = float(shares[who][k])
                row[f"{who}_ci95"] = ends[who][k]
                row[f"{who}_null"] = float(nulls[who][k])
            row["cosine"] = None if one.pca.cosines is None else float(one.pca.cosines[k, k])
            row["cosine_others"] = None if one.cosines is None else _others(one.cosines[:, k], one.pca.layers[1])
            row["cosine_null"] = None if one.pca.cosines is None else random_cosine(width)
            row["correlation"] = _correlation(one.pca.teacher[:, k], one.pca.student[:, k])
            rows.append(row)
    return StudyTable(
        title="Every direction of matched MLPs",
        columns=(
            Column(name="teacher", title="teacher", kind="text"),
            Column(name="student", title="its match", kind="text"),
            Column(name="direction", title="direction", kind="count"),
            *(
                column
                for who in _WHO
                for column in (
                    Column(name=f"{who}_variance", title=f"share of variance, {who}"),
                    Column(name=f"{who}_ci95", title="95%", kind="interval"),
                    Column(name=f"{who}_null", title="shuffled"),
                )
            ),
            Column(name="cosine", title="cosine of directions"),
            Column(name="cosine_others", title="with other MLPs"),
            Column(name="cosine_null", title="of random ones"),
            Column(name="correlation", title="correlation of coordinates"),
        ),
        rows=tuple(rows),
        note="Shares of the variance of the MLP's output at END over prompts. Shuffled: every coordinate shuffled over "
        "prompts by itself (Horn 1965), mean of 20. Intervals resample prompts and keep the directions as found. "
        "Cosine: absolute, of directions of the same number. The sign of a direction is arbitrary: the student's is "
        "turned so that coordinates do not correlate negatively.",
    )


def random_cosine(width: int) -> float:
    """Mean absolute cosine of two random directions: Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2))."""
    return math.exp(math.lgamma(width / 2) - math.lgamma((width + 1) / 2)) / math.sqrt(math.pi)


def _others(values: Float[Tensor, " student_mlp"], match: int) -> float | None:
    """Mean over all MLPs of the student but the match."""
    rest = values[torch.arange(len(values)) != match]
    known = rest[rest.isfinite()]
    return float(known.mean()) if len(known) else None


def _correlation(one: Float[Tensor, " prompt"], other: Float[Tensor, " prompt"]) -> float | None:
    a, b = (x.double() - x.double().mean() for x in (one, other))
    norms = a.norm() * b.norm()
    return float(a @ b / norms) if norms > 1e-12 else None


def planes_table(pair: PairMeasurements, found: Sequence[MatchedPca], by: Grouping) -> StudyTable:
    """The planes of the first two directions: do prompts lie alike in both, and by their answers?"""
    weights, seed = pair.teacher.weights(), pair.settings.seed
    rows: list[dict[str, Cell]] = []
    for one in found:
        row: dict[str, Cell] = {**one.names, "influence": one.influence}
        planes = [coordinates[:, :2] for _, _, coordinates in one.sides]
        wide = planes[0].shape[1] == 2
        agreed = plane_agreement(planes[0], planes[1], seed=seed) if wide else None
        row |= _three("canonical", agreed)
        own = one.canonical[one.pca.layers[1]]
        row["canonical_others"] = _others(one.canonical, one.pca.layers[1])
        row["canonical_rank"] = 1 + int((one.canonical > own).sum()) if bool(own.isfinite()) else None
        row["of"] = len(one.canonical)
        row["canonical_ci95"] = None if agreed is None else plane_interval(planes[0], planes[1], weights)
        shares = one.pca.teacher_variance, one.pca.student_variance
        for (who, _, coordinates), share, null in zip(one.sides, shares, one.shuffled, strict=True):
            row[f"{who}_variance"] = float(share[:2].sum())
            row[f"{who}_variance_null"] = float(null[:2].sum())
            row |= _three(f"{who}_between", between_groups(coordinates[:, :2], by.groups, seed=seed))
        rows.append(row)
    return StudyTable(
        title="Planes of the first two directions of matched MLPs",
        columns=(
            Column(name="teacher", title="teacher", kind="text"),
            Column(name="student", title="its match", kind="text"),
            Column(name="influence", title="influence, teacher"),
            Column(name="canonical", title="canonical correlation"),
            Column(name="canonical_ci95", title="95%", kind="interval"),
            Column(name="canonical_null", title="mismatched"),
            Column(name="canonical_p", title="p"),
            Column(name="canonical_others", title="with other MLPs"),
            Column(name="canonical_rank", title="rank of the match", kind="count"),
            Column(name="of", title="of", kind="count"),
            *(
                column
                for who in _WHO
                for column in (
                    Column(name=f"{who}_variance", title=f"variance held, {who}"),
                    Column(name=f"{who}_variance_null", title="shuffled"),
                    Column(name=f"{who}_between", title=f"between {by.name}s"),
                    Column(name=f"{who}_between_null", title="by chance"),
                    Column(name=f"{who}_between_p", title="p"),
                )
            ),
        ),
        rows=tuple(rows),
        note="Canonical correlation: the largest correlation of any direction in the one plane with any in the other; "
        "mismatched: mean of 500 random pairings of prompts; other MLPs: the student's that are not the match. "
        f"Between: share of the variance in the plane that lies between {by.name}s; by chance: mean of 500 shuffles. "
        "p: share of these as high, not corrected for the number of MLPs. Resampled canonical correlations lean "
        "upwards: read them beside the mismatched ones.",
    )


def _three(name: str, found: tuple[float, float, float] | None) -> dict[str, Cell]:
    value, null, p = (None, None, None) if found is None else found
    return {name: value, f"{name}_null": null, f"{name}_p": p}


def points_table(drawn: Sequence[MatchedPca], by: Grouping) -> StudyTable:
    """Every point of the drawn planes."""
    rows: list[dict[str, Cell]] = []
    for one in drawn:
        for prompt, (answer, group) in enumerate(zip(one.pca.answers, by.groups, strict=True)):
            row: dict[str, Cell] = {**one.names, "prompt": prompt, "answer": answer.strip(), "group": group}
            for who, _, coordinates in one.sides:
                for k in range(min(2, coordinates.shape[1])):
                    row[f"{who}_{k + 1}"] = float(coordinates[prompt, k])
            rows.append(row)
    n = min(2, drawn[0].pca.teacher.shape[1])
    return StudyTable(
        title="Every prompt in the drawn planes",
        columns=(
            Column(name="teacher", title="teacher", kind="text"),
            Column(name="student", title="its match", kind="text"),
            Column(name="prompt", title="prompt", kind="count"),
            Column(name="answer", title="answer", kind="text"),
            *((Column(name="group", title=by.name, kind="text"),) if by.name != "answer" else ()),
            *(Column(name=f"{who}_{k + 1}", title=f"{who}, direction {k + 1}") for who in _WHO for k in range(n)),
        ),
        rows=tuple(rows),
        note="In the units of each model's stream.",
    )
