"""Intervals and comparisons against scipy, scikit-learn, brute force and numbers worked by hand."""

import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from circuitkit.core.bootstrap import BootstrapWeights
from circuitkit.probes.scores import auroc, auroc_draws, better_chance, better_draws, better_hits, holm, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (7, 10), (10, 10), (381, 400)])
def test_wilson_is_scipys(hits, n):
    wanted = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(float(hits), n) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_auroc_is_scikit_learns_ties_included():
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(2, (60,), generator=generator)
    values = (torch.randn(60, generator=generator) + classes).mul(2).round()
    assert auroc(values, classes, torch.zeros(60, dtype=torch.long)) == pytest.approx(
        roc_auc_score(classes, values), abs=1e-12
    )


def test_draws_resample_whole_prompts():
    """Each prompt has one sample of either class; a draw repeats both as often as the prompt was drawn."""
    n, generator = 12, torch.Generator().manual_seed(1)
    prompts, classes = torch.arange(n).repeat(2), torch.tensor([1] * n + [0] * n)
    values, fold = torch.randn(2 * n, generator=generator), torch.arange(n).repeat(2) % 2
    weights = BootstrapWeights(n_prompts=n, n_draws=5, seed=3)
    drawn = auroc_draws(values, classes, fold, prompts, weights)
    for weight, value in zip(torch.cat(list(weights.blocks())), drawn, strict=True):
        times = (weight * n).round().long()
        won = total = 0.0
        for i in range(n):
            for j in range(n):
                if fold[i] == fold[j]:
                    total += float(times[i] * times[j])
                    won += float(times[i] * times[j]) * float(values[i] > values[n + j])
        assert float(value) == pytest.approx(won / total, abs=1e-12)


def test_sign_test_and_holm_by_hand():
    hits, than = torch.tensor([1.0, 1, 1, 1, 0, 1]), torch.tensor([0.0, 0, 0, 0, 1, 1])
    assert better_hits(hits, than) == pytest.approx(6 / 32)  # 4 or 5 of 5 heads
    assert better_hits(than, than) == 1.0
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert better_draws(1.96, torch.tensor([-1.0, 1.0]) / 2**0.5) == pytest.approx(0.025, abs=1e-3)
    assert better_draws(0.0, torch.zeros(3)) == 1.0


def test_better_than_chance_by_hand():
    assert better_chance(torch.tensor([1.0, 1, 1, 0]), 0.5) == pytest.approx(5 / 16)
