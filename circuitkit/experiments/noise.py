"""The score as noise grows on the student's activations (Fig. 3 of Distilled Circuits)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from circuitkit.alignment.nulls import shuffle_null
from circuitkit.alignment.score import alignment_score
from circuitkit.alignment.scores import match_influences
from circuitkit.alignment.similarity.measure import measure_similarity
from circuitkit.alignment.similarity.types import Similarity
from circuitkit.core.bootstrap import percentile_interval
from circuitkit.core.digest import digest
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.influence import Influence
from circuitkit.experiments.noise_compared import ComparedActivations, compared_activations, has_means
from circuitkit.experiments.noise_draws import NoiseDraw, draw_noise
from circuitkit.experiments.noise_forward import NoisyStudent, plain_sweep
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study_options import StudyOptions, level_range
from circuitkit.interventions.sweep_key import sweep_key

LEVELS = level_range(0.0, 2.0, 0.05)
REPEATS = 5
SHUFFLES = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoisePoint:
    """One draw at one level.

    Attributes:
        where: `compared` or `forward`.
        sd: Standard deviation, in the study's unit.
        seed: Seed of the draw.
        score: A.
        draws: A in bootstrap draws over prompts; None for none.
        mean_similarity: Mean similarity of the pairs.
        null: Mean of A with the student's influences shuffled; None where no null was asked for.
        logit_diff: The student's mean logit difference, in logits.
    """

    where: str
    sd: float
    seed: int
    score: float
    draws: Float[Tensor, " draw"] | None
    mean_similarity: float
    null: float | None
    logit_diff: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseMeasurements:
    """All draws at all levels.

    Attributes:
        points: Every draw.
        floor: A of each seed where the student's activations are noise and nothing else, influences as measured; None
            where what is compared has no means.
        unit: `activation`: noise has the activations' own units; `rms`: that of each component's root mean square.
        levels: Standard deviations, ascending.
        repeats: Draws at each.
        where: What gets noise, one or two of `compared` and `forward`.
    """

    points: tuple[NoisePoint, ...]
    floor: tuple[float, ...] | None
    unit: str
    levels: tuple[float, ...]
    repeats: int
    where: tuple[str, ...]

    def at(self, where: str, sd: float) -> list[NoisePoint]:
        """The draws at one level."""
        return [p for p in self.points if p.where == where and p.sd == sd]

    def mean(self, where: str, sd: float) -> float:
        """Mean A of the draws at one level."""
        found = self.at(where, sd)
        return sum(p.score for p in found) / len(found)

    def interval(self, where: str, sd: float) -> tuple[float, float] | None:
        """95% of A over prompts drawn anew and over the draws of noise together; None without bootstrap."""
        draws = [p.draws for p in self.at(where, sd) if p.draws is not None]
        if not draws:
            return None
        low, high = percentile_interval(torch.cat(draws))
        return float(low), float(high)

    def spearman(self, where: str) -> float | None:
        """Rank correlation of the level and the mean A; None for fewer than three levels."""
        if len(self.levels) < 3:
            return None
        found: Any = spearmanr(self.levels, [self.mean(where, sd) for sd in self.levels])  # untyped in scipy
        return float(found.statistic)


def measure_noise(pair: PairMeasurements, options: StudyOptions, *, progress: Progress = silent) -> NoiseMeasurements:
    """Add Gaussian noise to the student's activations and score again, at every level and for every seed.

    Noise is drawn once for each head value and MLP output at each position and is the same for all prompts. Where it is
    added:

    - `compared`: to the activations that similarity compares (mean head values, or mean patterns under `pattern`; MLP
      outputs before their directions are taken). Influences stay those of the student without noise.
    - `forward`: to the same head values and MLP outputs while the student runs. Later layers read it, the logit
      difference, the drops and the influences are those of the noisy student, and so are the activations compared.

    Args:
        pair: The pair.
        options: `levels` (0 to 2 by 0.05), `repeats` (5), `where` (compared), `unit` (activation).
        progress: Called as draws are scored.

    Raises:
        OptionError: A level is negative, or the similarity has no means to add noise to.
    """
    levels = tuple(sorted(options.levels or LEVELS))
    if levels[0] < 0:
        raise OptionError(f"Noise of standard deviation {levels[0]:g} does not exist; give --levels from 0 up.")
    asked, unit, repeats = options.where or "compared", options.unit or "activation", options.repeats or REPEATS
    where = ("compared", "forward") if asked == "both" else (asked,)
    means = has_means(pair)
    if unit == "rms" and not means:
        raise OptionError("--unit rms needs activations with means, and CKA compares none; use --unit activation.")
    compared = compared_activations(pair) if means or "compared" in where else None
    seeds = range(pair.settings.seed, pair.settings.seed + repeats)
    scales = compared.scales() if compared is not None and unit == "rms" else None
    points: list[NoisePoint] = []
    if compared is not None and "compared" in where:
        points += _compared_points(compared, levels, seeds, scales, progress)
    if "forward" in where:
        points += _forward_points(pair, levels, seeds, scales=scales, unit=unit, progress=progress)
    return NoiseMeasurements(
        points=tuple(points),
        floor=None if compared is None else tuple(_floor(compared, seed) for seed in seeds),
        unit=unit,
        levels=levels,
        repeats=repeats,
        where=where,
    )


_Scales = tuple[Float[Tensor, "layer head"], Float[Tensor, " layer"]] | None


def _draw(pair: PairMeasurements, positions: int, sd: float, seed: int, scales: _Scales) -> NoiseDraw:
    head, mlp = scales or (None, None)
    info = pair.student_model.info
    return draw_noise(info, positions=positions, sd=sd, seed=seed, head_scale=head, mlp_scale=mlp)


def _grid(levels: Sequence[float], seeds: Sequence[int], stage: str, progress: Progress) -> Iterator[tuple[float, int]]:
    total = len(levels) * len(seeds)
    for done, (sd, seed) in enumerate(product(levels, seeds), start=1):
        yield sd, seed
        progress(stage, done, total)


def _compared_points(
    compared: ComparedActivations,
    levels: Sequence[float],
    seeds: Sequence[int],
    scales: _Scales,
    progress: Progress,
) -> list[NoisePoint]:
    pair = compared.pair
    out: list[NoisePoint] = []
    for sd, seed in _grid(levels, seeds, "noise on what is compared", progress):
        noise = None if sd == 0 else _draw(pair, compared.positions, sd, seed, scales)
        out.append(_point(pair, ("compared", sd, seed), compared.similarity(noise), pair.student))
    return out


def _forward_points(
    pair: PairMeasurements,
    levels: Sequence[float],
    seeds: Sequence[int],
    *,
    scales: _Scales,
    unit: str,
    progress: Progress,
) -> list[NoisePoint]:
    noisy, batch = NoisyStudent(pair.student_model), pair.batches[1]
    out: list[NoisePoint] = []
    for sd, seed in _grid(levels, seeds, "noise in the run", progress):
        found = _forward(pair, noisy, _draw(pair, batch.clean.ids.shape[1], sd, seed, scales), (unit, sd, seed))
        influence = replace(pair.student, clean=found["clean"], ablated=found["ablated"], screen=None)
        similarity = replace(pair.similarity(), heads=found["heads"], mlps=found["mlps"])
        out.append(_point(pair, ("forward", sd, seed), similarity, influence))
    return out


def _forward(
    pair: PairMeasurements, noisy: NoisyStudent, noise: NoiseDraw, name: tuple[str, float, int]
) -> Mapping[str, Tensor]:
    """Sweep and similarities of the student under one draw; from the shard if an interrupted run has left it."""
    store = None
    if pair.resume is not None:
        s = pair.settings
        versions = pair.made_with["versions"]
        keys = [
            sweep_key(m, b, s.ablation, components=m.components, versions=versions)
            for m, b in zip((pair.teacher_model, pair.student_model), pair.batches, strict=True)
        ]
        store = ShardStore(pair.resume, digest([*keys, s.similarity, "noise in the run"]))
    shard = digest(list(name))
    if store is not None and (kept := store.load(shard)) is not None:
        return kept
    with noisy.under(noise) as model:
        run = plain_sweep(model, pair.batches[1], pair.settings.ablation, batch_size=pair.batch_size)
        similarity = measure_similarity(
            (pair.teacher_model, model), pair.batches, option=pair.settings.similarity, batch_size=pair.batch_size
        )
    found = {"clean": run.clean, "ablated": run.ablated, "heads": similarity.heads, "mlps": similarity.mlps}
    if store is not None:
        store.save(shard, found)
    return found


def _floor(compared: ComparedActivations, seed: int) -> float:
    pair = compared.pair
    similarity = compared.similarity(_draw(pair, compared.positions, 1.0, seed, None), alone=True)
    return _point(pair, ("alone", 1.0, seed), similarity, pair.student).score


def _point(
    pair: PairMeasurements, at: tuple[str, float, int], similarity: Similarity, student: Influence
) -> NoisePoint:
    teacher, weights = pair.teacher, pair.teacher.weights()
    matching = match_influences(similarity, teacher, student, pair.settings)
    draws = None if weights is None else alignment_score(matching, teacher.draws(weights), student.draws(weights))
    null = None
    if pair.settings.null != "none":
        n_heads = similarity.heads.shape[1]
        null = shuffle_null(
            matching, teacher.values, student.values, n_student_heads=n_heads, n=SHUFFLES, seed=pair.settings.seed
        ).mean
    return NoisePoint(
        where=at[0],
        sd=at[1],
        seed=at[2],
        score=float(alignment_score(matching, teacher.values, student.values)),
        draws=draws,
        mean_similarity=matching.mean_similarity,
        null=null,
        logit_diff=student.baseline.mean,
    )
