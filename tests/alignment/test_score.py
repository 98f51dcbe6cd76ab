"""The score, its interval and its nulls against hand-worked numbers, scipy and laws."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from synthetic import make_influence, one_to_one, random_influence, random_similarity, settings

from circuitkit.alignment.matching import match_components
from circuitkit.alignment.nulls import calibrated_score, random_student_null, shuffle_null
from circuitkit.alignment.score import alignment_score, circuit_alignment, contributions
from circuitkit.alignment.scores import match_influences, most_influential, score_matching


def test_worked_by_hand():
    matching = one_to_one([1.0, 0.5, -0.2])
    teacher, student = torch.tensor([1.0, 0.4, 0.0]).double(), torch.tensor([0.8, 1.0, 0.5]).double()
    torch.testing.assert_close(contributions(matching, teacher, student), torch.tensor([0.8, 0.2, -0.1]).double())
    assert float(alignment_score(matching, teacher, student)) == pytest.approx(0.9 / 3)
    assert float(circuit_alignment(matching, teacher, student)) == pytest.approx((0.8 + 0.4 * 0.2) / 1.4)


def test_soft_score_is_the_mean_over_sources():
    similarity = random_similarity(0, teacher=(1, 1), student=(3, 1))
    matching = match_components(similarity, method="soft")
    influences = torch.tensor([0.5, 1.0]).double(), torch.tensor([0.1, 0.9, 0.4, 1.0]).double()
    s = similarity.heads[0]
    soft = (s.exp() / s.exp().sum() * s * (1 - (0.5 - influences[1][:3]).abs())).sum()
    expected = (soft + similarity.mlps[0, 0]) / 2
    torch.testing.assert_close(alignment_score(matching, *influences), expected)


def test_circuit_alignment_needs_influence():
    assert torch.isnan(circuit_alignment(one_to_one([1.0]), torch.zeros(1).double(), torch.ones(1).double()))


def test_draws_are_scored_one_by_one():
    matching = match_components(random_similarity(1))
    teacher, student = torch.rand(7, 8).double(), torch.rand(7, 8).double()
    for score in (alignment_score, circuit_alignment):
        each = torch.stack([score(matching, t, s) for t, s in zip(teacher, student, strict=True)])
        torch.testing.assert_close(score(matching, teacher, student), each)


def test_interval_is_scipys_percentile_bootstrap():
    teacher, student = random_influence(1, n_draws=4000), random_influence(2, n_draws=4000)
    similarity = random_similarity(3)
    options = settings(bootstrap=4000)
    matching = match_influences(similarity, teacher, student, options)
    found = score_matching(matching, similarity, teacher, student, settings=options)

    drops = [side.drops.double().numpy() for side in (teacher, student)]
    t, s, like = (x.numpy() for x in (matching.teacher, matching.student, matching.similarity))

    def score(prompts, circuit):
        means = [np.clip(d[:, prompts.astype(int)].mean(1), 0, None) for d in drops]
        influence = [m / m.max() for m in means]
        each = like * (1 - np.abs(influence[0][t] - influence[1][s]))
        return np.average(each, weights=influence[0][t] if circuit else None)

    for interval, point, circuit in (
        (found.ci95, found.score, False),
        (found.circuit_ci95, found.circuit_alignment, True),
    ):
        expected = stats.bootstrap(
            (np.arange(40),),
            lambda prompts, circuit=circuit: score(prompts, circuit),
            n_resamples=4000,
            method="percentile",
            vectorized=False,
            rng=np.random.default_rng(0),
        ).confidence_interval
        assert point == pytest.approx(score(np.arange(40), circuit))
        assert interval == pytest.approx((expected.low, expected.high), abs=0.01)
        assert expected.high - expected.low > 0.05


def test_bootstrap_off_gives_no_interval():
    teacher, student, similarity = random_influence(1), random_influence(2), random_similarity(3)
    matching = match_influences(similarity, teacher, student, settings())
    found = score_matching(matching, similarity, teacher, student, settings=settings())
    assert found.ci95 is None
    assert found.shuffle is None
    assert found.calibrated is None


def test_shuffle_null_equals_all_permutations():
    """With 3 heads and 1 MLP there are 6 permutations: the null's mean and p-value are known exactly."""
    similarity = random_similarity(5, teacher=(3, 1), student=(3, 1))
    matching = match_components(similarity)
    teacher, student = torch.tensor([1.0, 0.5, 0.0, 0.2]).double(), torch.tensor([0.9, 0.3, 0.1, 0.7]).double()
    orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    scores = torch.stack([alignment_score(matching, teacher, student[[*order, 3]]) for order in orders])
    share = float((scores >= scores[0] - 1e-12).double().mean())
    null = shuffle_null(matching, teacher, student, n_student_heads=3, n=20000)
    assert null.mean == pytest.approx(float(scores.mean()), abs=0.005)
    assert null.sd == pytest.approx(float(scores.std(correction=0)), abs=0.005)
    assert null.p == pytest.approx(share, abs=0.015)


def test_shuffle_null_permutes_only_within_what_takes_part():
    """Where each type has one selected component nothing can be permuted: every permuted score is the score."""
    matching = match_components(random_similarity(5))
    chosen = torch.zeros(8, dtype=torch.bool)
    chosen[[2, 7]] = True
    teacher, student = torch.rand(8).double(), torch.rand(8).double()
    null = shuffle_null(matching, teacher, student, n_student_heads=6, student_allowed=chosen, n=50)
    assert null.p == 1
    assert null.sd == pytest.approx(0, abs=1e-12)


def test_p_value_is_uniform_where_the_null_holds():
    """Influences that have nothing to do with each other: p <= a with probability a, for every a."""
    generator = torch.Generator().manual_seed(0)
    n, p_values = 500, []
    for seed in range(n):
        teacher, student = torch.rand(2, 8, generator=generator, dtype=torch.float64)
        matching = match_components(random_similarity(seed))
        p_values.append(shuffle_null(matching, teacher, student, n_student_heads=6, n=99, seed=seed).p)
    for level in (0.05, 0.25, 0.5, 0.75):
        share = np.mean(np.array(p_values) <= level + 1e-9)
        assert abs(share - level) < 3.5 * (level * (1 - level) / n) ** 0.5, level


def test_calibration_and_random_students():
    assert calibrated_score(0.7, 0.4) == pytest.approx(0.5)
    assert calibrated_score(0.4, 0.4) == 0
    null = random_student_null(0.5, (0.1, 0.6, 0.3), (0, 1, 2))
    assert null.p == pytest.approx(2 / 4)
    assert null.mean == pytest.approx(1 / 3)


@given(st.integers(0, 10**6))
def test_score_is_at_most_the_mean_similarity_of_positive_pairs(seed):
    similarity = random_similarity(seed)
    matching = match_components(similarity)
    influences = torch.rand(2, 8, generator=torch.Generator().manual_seed(seed)).double()
    assert alignment_score(matching, *influences) <= matching.similarity.clamp(min=0).mean() + 1e-12


@given(st.integers(0, 10**6))
def test_equal_influences_leave_the_mean_similarity(seed):
    matching = one_to_one(torch.rand(5, generator=torch.Generator().manual_seed(seed)).tolist())
    influence = torch.rand(5, generator=torch.Generator().manual_seed(seed + 1)).double()
    for score in (alignment_score, circuit_alignment):
        weights = torch.ones(5).double() if score is alignment_score else influence
        expected = (matching.similarity * weights).sum() / weights.sum()
        torch.testing.assert_close(score(matching, influence, influence), expected)


def test_most_influential_counts_only_what_helps():
    clean = torch.full((3,), 5.0)
    drops = torch.tensor([1.0, -9.0, 3.0, 0.5, 0.2, 0.1, 2.0, 0.0])
    influence = make_influence(clean, clean - drops[:, None].expand(8, 3))
    assert most_influential(influence, None) is None
    assert most_influential(influence, 3).nonzero().flatten().tolist() == [0, 2, 6]
