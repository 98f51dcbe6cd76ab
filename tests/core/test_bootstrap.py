import numpy as np
import pytest
import scipy.stats
import torch

from circuitkit.core.bootstrap import bootstrap_weights, percentile_interval


def test_weights_are_shares_of_whole_draws():
    weights = bootstrap_weights(7, 50, seed=3)
    torch.testing.assert_close(weights.sum(1), torch.ones(50, dtype=torch.float64))
    assert torch.equal((weights * 7).round(), weights * 7)
    assert torch.equal(weights, bootstrap_weights(7, 50, seed=3))
    assert not torch.equal(weights, bootstrap_weights(7, 50, seed=4))


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(0).gamma(2.0, size=200)
    low, high = percentile_interval(bootstrap_weights(200, 20_000, seed=0) @ torch.tensor(values))
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert low.item() == pytest.approx(expected.low, abs=0.01)
    assert high.item() == pytest.approx(expected.high, abs=0.01)


def test_interval_of_known_draws():
    low, high = percentile_interval(torch.arange(1001.0), level=0.9)
    assert (low.item(), high.item()) == pytest.approx((50, 950))
