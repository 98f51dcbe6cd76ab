"""From what probes said of held-out samples to scores with intervals and comparisons."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval
from circuitkit.probes.features import Row
from circuitkit.probes.linear_probe import Outcome
from circuitkit.probes.question import Question
from circuitkit.probes.result import Curve, RowScore, Who
from circuitkit.probes.scores import auroc, auroc_draws, better_chance, better_draws, better_hits, holm, wilson


def judge_curve(
    who: Who, question: Question, rows: Sequence[Row], outcomes: Sequence[Outcome], *, bootstrap: int, seed: int
) -> Curve:
    """Scores of every row of one target in one model.

    Args:
        who: Whose activations.
        question: The target.
        rows: The rows, the embedding baseline first.
        outcomes: What the probes of each row said.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of the draws.
    """
    said = torch.stack([outcome.said for outcome in outcomes])
    control = torch.stack([outcome.control for outcome in outcomes])
    ranked = question.metric == "AUROC"
    n = int(question.prompts.max()) + 1 if ranked else said.shape[1]  # an accuracy has one sample a prompt
    weights = BootstrapWeights(n_prompts=n, n_draws=bootstrap, seed=seed) if bootstrap else None
    measure = _ranked if ranked else _counted
    scores, p = measure(question, rows, said, control, weights)
    adjusted = [None, *(holm(p) if p is not None else [None] * (len(rows) - 1))]
    return Curve(
        who=who,
        question=question,
        rows=tuple(_with_p(score, value) for score, value in zip(scores, adjusted, strict=True)),
        said=said,
        control=control,
        stalled=sum(outcome.stalled for outcome in outcomes),
    )


def _counted(
    question: Question,
    rows: Sequence[Row],
    said: Float[Tensor, "row sample"],
    control: Float[Tensor, "row shuffle sample"],
    weights: BootstrapWeights | None,
) -> tuple[list[RowScore], list[float]]:
    """Accuracies; a row is held against the baseline prompt by prompt, and against chance."""
    n, by_chance = said.shape[1], control.mean(1)
    scores: list[RowScore] = []
    for row, hits, chance in zip(rows, said, by_chance, strict=True):
        gap = None if weights is None else percentile_interval(weights.means((hits - chance)[None])[:, 0])
        scores.append(
            RowScore(
                row=row,
                value=float(hits.double().mean()),
                ci95=wilson(float(hits.sum()), n),
                control=float(chance.double().mean()),
                control_ci95=wilson(float(chance.double().sum()), n),
                selectivity=float((hits - chance).double().mean()),
                selectivity_ci95=None if gap is None else (float(gap[0]), float(gap[1])),
                above_embedding=float((hits - said[0]).double().mean()),
                above_chance=float(hits.double().mean()) - question.chance,
                p=None,
            )
        )
    p = [max(better_hits(hits, said[0]), better_chance(hits, question.chance)) for hits in said[1:]]
    return scores, p


def _ranked(
    question: Question,
    rows: Sequence[Row],
    said: Float[Tensor, "row sample"],
    control: Float[Tensor, "row shuffle sample"],
    weights: BootstrapWeights | None,
) -> tuple[list[RowScore], list[float] | None]:
    """AUROCs within folds."""
    classes, prompts = question.classes[0], question.prompts
    fold = question.folds.fold
    values = [auroc(row, classes, fold) for row in said]
    chances = [sum(auroc(one, classes, fold) for one in row) / len(row) for row in control]
    draws = control_draws = None
    if weights is not None:
        draws = torch.stack([auroc_draws(row, classes, fold, prompts, weights) for row in said])
        control_draws = torch.stack(
            [torch.stack([auroc_draws(one, classes, fold, prompts, weights) for one in row]).mean(0) for row in control]
        )
    scores: list[RowScore] = []
    p: list[float] = []
    for i, row in enumerate(rows):
        drawn, by_chance = (None, None) if draws is None or control_draws is None else (draws[i], control_draws[i])
        gap = None if drawn is None or by_chance is None else drawn - by_chance
        scores.append(
            RowScore(
                row=row,
                value=values[i],
                ci95=_bounds(drawn),
                control=chances[i],
                control_ci95=_bounds(by_chance),
                selectivity=values[i] - chances[i],
                selectivity_ci95=_bounds(gap),
                above_embedding=values[i] - values[0],
                above_chance=values[i] - question.chance,
                p=None,
            )
        )
        if i and draws is not None:
            more = better_draws(values[i] - values[0], draws[i] - draws[0])
            p.append(max(more, better_draws(values[i] - question.chance, draws[i])))
    return scores, p if draws is not None else None


def _bounds(draws: Float[Tensor, " draw"] | None) -> tuple[float, float] | None:
    if draws is None:
        return None
    low, high = percentile_interval(draws)
    return float(low), float(high)


def _with_p(score: RowScore, p: float | None) -> RowScore:
    return replace(score, p=p)
