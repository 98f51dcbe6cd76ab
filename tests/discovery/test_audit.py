"""What a few exact measurements say of estimates, and what they leave to be measured."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitkit.discovery.audit import TOLERANCE, Calibrated, audited_prompts, calibrate, to_measure
from circuitkit.discovery.screen import Screen

ROOT = 1 / 2**0.5


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kinds(n: int) -> torch.Tensor:
    return torch.arange(n) >= n // 2


@given(n=st.integers(1, 2000), seed=st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_one_prompt_in_sixteen_is_audited_within_limits(n, seed):
    found = audited_prompts(n, seed=seed)
    assert len(found) == min(n, max(8, min(24, round(n / 16))))
    assert len(set(found.tolist())) == len(found) and found.tolist() == sorted(found.tolist())
    assert 0 <= int(found.min()) and int(found.max()) < n


def test_estimates_that_are_exact_are_kept_and_have_no_error():
    exact = draw(6, 40)
    audited = audited_prompts(40, seed=1)
    found = calibrate(exact, exact[:, audited], audited, kinds(6))
    torch.testing.assert_close(found.drops, exact)
    assert float(found.standard_error.max()) < 1e-12


def test_a_constant_error_and_a_slope_are_corrected():
    estimated, audited = draw(4, 40), audited_prompts(40, seed=1)
    shift = torch.tensor([[1.0], [-2.0], [0.5], [0.0]])
    exact = torch.tensor([[0.4], [0.4], [0.9], [0.9]]) * estimated + shift
    found = calibrate(estimated, exact[:, audited], audited, kinds(4))
    torch.testing.assert_close(found.drops, exact)


def test_worthless_estimates_leave_the_mean_of_the_sample():
    exact, audited = draw(4, 40), torch.arange(0, 40, 4)
    found = calibrate(-1000 * exact, exact[:, audited], audited, kinds(4))  # no slope below 0
    torch.testing.assert_close(found.drops[:, 1], exact[:, audited].mean(1))
    torch.testing.assert_close(found.drops[:, audited], exact[:, audited])


def test_error_by_hand():
    """Two of four prompts, residuals 1 and -1: variance 2, of the mean 2/2, half of the prompts known: 1/2."""
    estimated = torch.zeros(2, 4)
    audit = torch.tensor([[1.0, -1.0], [3.0, 3.0]])
    found = calibrate(estimated, audit, torch.tensor([0, 2]), kinds(2))
    torch.testing.assert_close(found.standard_error, torch.tensor([ROOT, 0.0], dtype=torch.float64))
    assert found.drops.tolist() == [[1, 0, -1, 0], [3, 3, 3, 3]]


def test_outliers_that_the_sample_missed_raise_the_error():
    exact, audited = 0.1 * draw(2, 40), torch.arange(8)
    calm = calibrate(exact, 0.9 * exact[:, audited], audited, kinds(2)).standard_error
    exact[0, 30] = 5.0
    wild = calibrate(exact, 0.9 * exact[:, audited] + 0.01 * draw(2, 8, seed=3), audited, kinds(2)).standard_error
    assert float(wild[0]) > 5 * float(wild[1].clamp(min=float(calm[1])) * 0.1) > 0


def test_the_mean_is_unbiased_and_its_error_honest_over_the_choice_of_prompts():
    exact = draw(10, 64) + draw(10, 1, seed=5)
    estimated = 0.7 * exact + 0.3 * draw(10, 64, seed=2)
    errors = []
    for seed in range(300):
        audited = audited_prompts(64, seed=seed)
        found = calibrate(estimated, exact[:, audited], audited, kinds(10))
        errors.append((found.drops.mean(1) - exact.mean(1)) / found.standard_error)
    ratio = torch.stack(errors)
    assert abs(float(ratio.mean())) < 0.1
    assert 0.7 < float(ratio.square().mean().sqrt()) < 1.15


def test_when_all_prompts_are_audited_everything_is_exact():
    exact = draw(4, 5)
    found = calibrate(torch.zeros(4, 5), exact, torch.arange(5), kinds(4))
    assert bool(found.exact.all()) and not bool(found.deviation.any())
    torch.testing.assert_close(found.drops, exact)
    one = calibrate(torch.zeros(4, 1), exact[:, :1], torch.arange(1), kinds(4))
    torch.testing.assert_close(one.drops, exact[:, :1])


def known(means: list[float], errors: list[float], exact: list[bool] | None = None) -> Calibrated:
    return Calibrated(
        drops=torch.tensor(means).double()[:, None].expand(-1, 4),
        deviation=torch.tensor(errors).double()[:, None],
        exact=torch.tensor(exact or [False] * len(means)),
    )


def choose(found: Calibrated, *, sign="clamp", normalize="max", share=0.1) -> list[int]:
    cost = torch.ones(len(found.drops)).double()
    wanted = to_measure(found, cost, normalize=normalize, sign=sign, audited_share=share)
    return wanted.nonzero().squeeze(1).tolist()


def test_the_greatest_and_those_that_matter_are_measured():
    idle = [0.0] * 10
    assert choose(known([4.0, 1.0, 0.01, -3.0, *idle], [1e-4] * 14)) == [0, 1]
    assert choose(known([4.0, 1.0, 0.01, -3.0, *idle], [1e-4] * 14), sign="abs") == [0, 1, 3]


def test_one_that_may_be_the_greatest_is_measured():
    idle = [0.0] * 10
    assert choose(known([4.0, -0.2, *idle], [0.0, 1.8, *idle])) == [0, 1]


def test_nothing_more_when_all_that_matters_is_exact():
    found = known([4.0, 1.0, *[0.01] * 10], [0.0, 0.0, *[1e-4] * 10], [True, True, *[False] * 10])
    assert choose(found) == []


def test_the_least_certain_are_measured_until_the_mean_is_certain_enough():
    errors = [0.0, *[0.08] * 3, *[0.001] * 96]
    found = known([4.0, *[0.0] * 99], errors, [True, *[False] * 99])
    assert choose(found) == []  # .0346 / 100 of the scale is within the tolerance
    errors = [0.0, *[0.09] * 90, *[0.001] * 9]
    found = known([4.0, *[0.0] * 99], errors, [True, *[False] * 99])
    wanted = choose(found)
    left = [e for i, e in enumerate(errors) if i not in wanted]
    assert 0 < len(wanted) < 90
    assert sum((e / 4) ** 2 for e in left) ** 0.5 / 100 <= TOLERANCE
    assert set(wanted) <= set(range(1, 91))


def test_where_most_would_be_measured_all_are():
    found = known([4.0, *[3.0] * 8, -5.0], [0.1] * 10)
    assert choose(found) == list(range(10))


def test_measured_components_are_exact_from_then_on():
    found = known([4.0, 1.0, 2.0], [0.1, 0.1, 0.1])
    after = found.measured(torch.tensor([False, True, False]), torch.full((1, 4), 7.0))
    assert after.drops.mean(1).tolist() == [4.0, 7.0, 2.0]
    assert after.exact.tolist() == [False, True, False]
    torch.testing.assert_close(after.standard_error, torch.tensor([0.1, 0.0, 0.1]).double())


def test_redrawn_errors_have_the_stated_size_and_go_together():
    deviation = torch.zeros(3, 8).double()
    deviation[0], deviation[1] = draw(8), 2 * draw(8)
    screen = Screen(exact=torch.tensor([False, False, True]), deviation=deviation, rank_correlation=None, saved=0.5)
    drawn = screen.redraw(20000, seed=0)
    freedom = 6 + 8 - 1
    wanted = screen.deviation.norm(dim=1) * (freedom / (freedom - 2)) ** 0.5
    torch.testing.assert_close(drawn.std(0), wanted, rtol=0.03, atol=0)
    torch.testing.assert_close(drawn[:, 1], 2 * drawn[:, 0])
    assert torch.equal(screen.redraw(5, seed=0), screen.redraw(5, seed=0))


def test_the_record_says_what_is_known():
    screen = Screen(
        exact=torch.tensor([True, False, False]),
        deviation=torch.tensor([[0.0, 0.0], [0.3, 0.4], [0.0, 0.1]], dtype=torch.float64),
        rank_correlation=0.9,
        saved=0.6,
    )
    record = screen.to_dict()
    assert (record["n_exact"], record["n_components"], record["n_audited_prompts"]) == (1, 3, 2)
    assert abs(record["drop_error"] - ((0.25 + 0.01) / 2) ** 0.5) < 1e-12
    again = Screen.from_dict(record, exact=screen.exact, deviation=screen.deviation)
    assert again.to_dict() == record
    assert "1 of 3 components measured exactly" in screen.notice(40) and "60%" in screen.notice(40)
