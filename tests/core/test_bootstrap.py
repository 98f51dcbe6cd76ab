import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuitkit.core.bootstrap import (
    BLOCK_BYTES,
    BootstrapWeights,
    bootstrap_weights,
    percentile_interval,
    prompt_means,
)


def drawn_at_once(n_prompts: int, n_draws: int, seed: int) -> torch.Tensor:
    """The whole matrix [draw, prompt], as the textbook has it."""
    drawn = torch.randint(n_prompts, (n_draws, n_prompts), generator=torch.Generator().manual_seed(seed))
    return torch.stack([torch.bincount(row, minlength=n_prompts) for row in drawn]).double() / n_prompts


def in_one_piece(weights: BootstrapWeights, block_bytes: int = BLOCK_BYTES) -> torch.Tensor:
    return torch.cat(list(weights.blocks(block_bytes=block_bytes)))


def test_weights_are_shares_of_whole_draws():
    weights = in_one_piece(BootstrapWeights(n_prompts=7, n_draws=50, seed=3))
    torch.testing.assert_close(weights.sum(1), torch.ones(50, dtype=torch.float64))
    assert torch.equal((weights * 7).round(), weights * 7)
    assert torch.equal(weights, in_one_piece(BootstrapWeights(n_prompts=7, n_draws=50, seed=3)))
    assert not torch.equal(weights, in_one_piece(BootstrapWeights(n_prompts=7, n_draws=50, seed=4)))


def test_one_prompt_is_not_drawn_again():
    """Its draws are all alike, and their interval a point."""
    low, high = percentile_interval(BootstrapWeights(n_prompts=1, n_draws=50, seed=0).means(torch.tensor([3.5])))
    assert low == high == 3.5
    assert bootstrap_weights(1, n_draws=50, seed=0) is None
    assert bootstrap_weights(9, n_draws=0, seed=0) is None
    assert bootstrap_weights(2, n_draws=50, seed=4) == BootstrapWeights(n_prompts=2, n_draws=50, seed=4)


@given(
    n_prompts=st.integers(1, 60), n_draws=st.integers(1, 40), seed=st.integers(0, 9), block_bytes=st.integers(0, 9000)
)
def test_blocks_are_the_matrix_drawn_at_once(n_prompts: int, n_draws: int, seed: int, block_bytes: int):
    weights = BootstrapWeights(n_prompts=n_prompts, n_draws=n_draws, seed=seed)
    matrix = drawn_at_once(n_prompts, n_draws, seed)
    assert torch.equal(in_one_piece(weights, block_bytes), matrix)
    values = torch.randn(3, n_prompts, generator=torch.Generator().manual_seed(seed))
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(weights.means(values, block_bytes=block_bytes), matrix @ values.double().T, **close)
    torch.testing.assert_close(weights.means(values[0], block_bytes=block_bytes), matrix @ values[0].double(), **close)
    torch.testing.assert_close(prompt_means(values, block_bytes=block_bytes), values.double().mean(1), **close)


@pytest.mark.parametrize("n_prompts", [100, 2_000, 20_000])
def test_blocks_do_not_grow_with_the_number_of_prompts(n_prompts: int):
    """A block holds an index and a weight for every draw and prompt in it, 8 bytes each."""
    weights = BootstrapWeights(n_prompts=n_prompts, n_draws=1000, seed=0)
    sizes = [16 * block.numel() for block in weights.blocks()]
    assert max(sizes) <= BLOCK_BYTES
    assert sum(sizes) == 16 * 1000 * n_prompts


def test_the_largest_tensor_of_a_mean_does_not_grow_with_draws_times_prompts():
    sizes = {n: _largest_allocation(BootstrapWeights(n_prompts=n, n_draws=1000, seed=0)) for n in (2_000, 20_000)}
    assert max(sizes.values()) <= BLOCK_BYTES, sizes


def _largest_allocation(weights: BootstrapWeights) -> int:
    """Bytes of the largest single allocation that torch makes while it draws means."""
    values = torch.ones(54, weights.n_prompts)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        weights.means(values)
    return max(event.self_cpu_memory_usage for event in profile.events())


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(0).gamma(2.0, size=200)
    weights = BootstrapWeights(n_prompts=200, n_draws=20_000, seed=0)
    low, high = percentile_interval(weights.means(torch.tensor(values)))
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert low.item() == pytest.approx(expected.low, abs=0.01)
    assert high.item() == pytest.approx(expected.high, abs=0.01)


def test_interval_of_known_draws():
    low, high = percentile_interval(torch.arange(1001.0), level=0.9)
    assert (low.item(), high.item()) == pytest.approx((50, 950))
