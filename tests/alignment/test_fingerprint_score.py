"""Fingerprint matching and scores on numbers worked by hand, against exhaustive search, and the laws that they obey."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitkit.alignment.fingerprint_matching import (
    NOBODY,
    match_merging,
    match_one_to_one,
    matched_share,
    merged,
    shared_mass,
)
from circuitkit.alignment.fingerprint_score import (
    Effects,
    Half,
    centred_interval,
    limit_interval,
    profile_share,
    same_share,
    score,
    score_draws,
    score_halves,
    shuffled_scores,
)
from circuitkit.core.errors import OptionError

NAMES = ("F", "one_to_one", "profile")


def rand(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def everyone(teacher, student):
    return torch.ones(teacher.shape[-2], student.shape[-2], dtype=torch.bool)


def merging(teacher, student, may=None):
    found = match_merging(teacher[None], student[None], may=everyone(teacher, student) if may is None else may)
    return found[0]


def share(teacher, student, seats):
    return float(matched_share(teacher[None], student[None], torch.as_tensor(seats)[None]))


def planted(seed, *, n_prompts=24, noise=0.5, n=6, cells=8):
    """Effects of a model whose components do different things, prompt by prompt."""
    return rand(n, cells, 1, seed=seed) + noise * rand(n, cells, n_prompts, seed=seed + 1000)


def test_shared_mass_by_hand():
    one, other = torch.tensor([3.0, -2.0, 1.0, 0.0]), torch.tensor([1.0, -5.0, -1.0, 4.0])
    assert shared_mass(one, other) == 2 * 1 + 2 * 2  # signs differ in the third cell, the fourth is empty


def test_score_by_hand():
    teacher = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, -2.0]])
    student = torch.tensor([[4.0, 1.0], [0.0, 1.0]])
    # the first two fill the first student component wholly; the third shares no sign with anything
    assert merging(teacher, student).tolist() == [0, 0, NOBODY]
    assert share(teacher, student, [0, 0, NOBODY]) == pytest.approx(2 * 5 / (3 + 2 + 2 + 5 + 1))
    pairs = match_one_to_one(teacher[None], student[None], may=everyone(teacher, student))[0].tolist()
    assert pairs == [0, 1, NOBODY]
    assert share(teacher, student, pairs) == pytest.approx((2 * 3 + 2 * 1) / 13)
    half = Half(teacher=teacher[None], student=student[None])
    assert profile_share(half, may=everyone(teacher, student))[0] == pytest.approx(2 * 4 / (4 + 1 + 4 + 2))


def test_two_heads_merged_into_one_are_found_and_one_to_one_does_not():
    effects = planted(0, noise=0).abs().clone()
    student = torch.cat([effects[:1] + effects[1:2], effects[2:]])
    both = Effects(teacher=effects, student=student, may=everyone(effects[..., 0], student[..., 0]))
    found = score(both, seed=0)
    assert float(found.F) == pytest.approx(1)
    assert float(found.profile) == pytest.approx(1)
    assert float(found.one_to_one) < 0.95
    seats = merging(effects.mean(-1), student.mean(-1))
    assert seats[0] == seats[1] == 0 and sorted(seats.tolist()) == [0, 0, 1, 2, 3, 4]


def test_heads_are_not_matched_with_mlps():
    teacher, student = torch.tensor([[1.0, 2.0], [4.0, 3.0]]), torch.tensor([[4.0, 3.0], [1.0, 2.0]])
    may = torch.eye(2, dtype=torch.bool)
    assert merging(teacher, student, may).tolist() == [0, 1]
    assert match_one_to_one(teacher[None], student[None], may=may)[0].tolist() == [0, 1]
    half = Half(teacher=teacher[None], student=student[None])
    assert profile_share(half, may=may)[0] == pytest.approx(12 / 20)
    # a type that only one model has adds to the mass and shares nothing
    alone = Half(teacher=teacher[None], student=student[None, :1])
    assert profile_share(alone, may=may[:, :1])[0] == pytest.approx(2 * 3 / (3 + 7 + 7))


def test_nothing_that_acts_scores_nothing():
    nothing = torch.zeros(3, 4, 8)
    found = score(Effects(teacher=nothing, student=nothing, may=torch.ones(3, 3, dtype=torch.bool)), seed=0)
    assert [float(getattr(found, name)) for name in (*NAMES, "ceiling")] == [0, 0, 0, 0]
    assert merging(nothing[..., 0], nothing[..., 0]).tolist() == [NOBODY] * 3


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_matching_is_a_local_optimum_and_near_the_best(seed):
    teacher, student = rand(5, 4, seed=seed), rand(3, 4, seed=seed + 1)
    seats = merging(teacher, student)
    found = share(teacher, student, seats)
    for who, seat in itertools.product(range(5), range(-1, 3)):
        moved = seats.clone()
        moved[who] = seat
        assert share(teacher, student, moved) <= found + 1e-6
    every = torch.tensor(list(itertools.product(range(-1, 3), repeat=5)))
    best = matched_share(teacher.expand(len(every), -1, -1), student.expand(len(every), -1, -1), every).max()
    assert float(best) - 0.25 <= found <= float(best) + 1e-12


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_hungarian_pairs_are_the_best_one_to_one(seed):
    teacher, student = rand(4, 3, seed=seed), rand(3, 3, seed=seed + 1)
    pairs = match_one_to_one(teacher[None], student[None], may=everyone(teacher, student))[0]
    best = max(
        sum(float(shared_mass(teacher[x], student[y])) for x, y in zip(order, range(3), strict=True))
        for order in itertools.permutations(range(4), 3)
    )
    total = float(teacher.abs().sum() + student.abs().sum())
    assert share(teacher, student, pairs) * total == pytest.approx(best)


@given(seed=st.integers(0, 10_000), noise=st.floats(0, 3))
@settings(max_examples=25, deadline=None)
def test_a_model_is_itself(seed, noise):
    effects = planted(seed, noise=noise)
    found = score(Effects(teacher=effects, student=effects, may=torch.ones(6, 6, dtype=torch.bool)), seed=seed)
    for name in NAMES:
        assert float(getattr(found, name)) == pytest.approx(1, abs=1e-9)
    assert float(found.ceiling) < 1 or noise < 1e-9


def test_on_other_prompts_a_model_is_its_ceiling():
    effects = planted(3)
    halves = [effects[..., half].mean(-1)[None] for half in (range(12), range(12, 24))]
    found = same_share(*halves)
    assert float(found) == pytest.approx(share(halves[0][0], halves[1][0], range(6)))
    crossed = score_halves(
        Half(teacher=halves[0], student=halves[1]),
        Half(teacher=halves[1], student=halves[0]),
        may=torch.ones(6, 6, dtype=torch.bool),
    )
    assert 0.5 < float(found) < 1
    assert float(crossed.one_to_one) == pytest.approx(float(found), abs=0.02)


@given(seed=st.integers(0, 10_000), one=st.permutations(range(6)), other=st.permutations(range(4)))
@settings(max_examples=25, deadline=None)
def test_the_order_of_components_and_cells_does_not_matter(seed, one, other):
    teacher, student = planted(seed), planted(seed + 1, n=4)
    may = torch.zeros(6, 4, dtype=torch.bool)
    may[:4, :3] = may[4:, 3:] = True
    cells = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    plain = score(Effects(teacher=teacher, student=student, may=may), seed=1)
    mixed = score(
        Effects(teacher=teacher[one][:, cells], student=student[other][:, cells], may=may[one][:, other]), seed=1
    )
    for name in (*NAMES, "ceiling"):
        torch.testing.assert_close(getattr(plain, name), getattr(mixed, name))
        assert 0 <= float(getattr(plain, name)) <= 1


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_one_unit_for_both_models_does_not_matter(seed, scale):
    teacher, student = planted(seed), planted(seed + 1)
    may = torch.ones(6, 6, dtype=torch.bool)
    plain = score(Effects(teacher=teacher, student=student, may=may), seed=1)
    scaled = score(Effects(teacher=scale * teacher, student=scale * student, may=may), seed=1)
    for name in NAMES:
        torch.testing.assert_close(getattr(plain, name), getattr(scaled, name))


def test_forms_that_know_no_direction_are_symmetric():
    teacher, student = planted(5), planted(6)
    may = torch.ones(6, 6, dtype=torch.bool)
    there = score(Effects(teacher=teacher, student=student, may=may), seed=0)
    back = score(Effects(teacher=student, student=teacher, may=may.T), seed=0)
    torch.testing.assert_close(there.one_to_one, back.one_to_one)
    torch.testing.assert_close(there.profile, back.profile)


def test_scores_fall_as_noise_grows():
    teacher = planted(7, noise=0.2, n_prompts=64)
    off = rand(6, 8, 1, seed=70)
    found = [
        score(Effects(teacher=teacher, student=teacher + size * off, may=torch.ones(6, 6, dtype=torch.bool)), seed=0)
        for size in (0, 0.3, 0.6, 1.2, 2.4, 4.8)
    ]
    for name in NAMES:
        values = [float(getattr(one, name)) for one in found]
        assert values == sorted(values, reverse=True)


def test_noise_lowers_the_score_and_more_prompts_lift_it():
    teacher = rand(6, 8, 1, seed=8)
    values = []
    for n in (8, 32, 512):
        of = [
            float(
                score(
                    Effects(
                        teacher=teacher + 2 * rand(6, 8, n, seed=100 + i),
                        student=teacher + 2 * rand(6, 8, n, seed=200 + i),
                        may=torch.ones(6, 6, dtype=torch.bool),
                    ),
                    seed=i,
                ).F
            )
            for i in range(8)
        ]
        values.append(sum(of) / len(of))
    assert values[0] < values[1] - 0.05 < values[2] - 0.1


def test_draws_are_bootstraps_within_halves():
    teacher, student = planted(9), planted(10)
    both = Effects(teacher=teacher, student=student, may=torch.ones(6, 6, dtype=torch.bool))
    draws = score_draws(both, n_draws=70, seed=0)
    assert draws.F.shape == draws.ceiling.shape == (70,)
    assert torch.equal(draws.F, score_draws(both, n_draws=70, seed=0).F)
    assert draws.F.std() > 0 and bool(((draws.F >= 0) & (draws.F <= 1)).all())
    same = score_draws(Effects(teacher=teacher, student=teacher, may=both.may), n_draws=20, seed=0)
    torch.testing.assert_close(same.F, torch.ones(20, dtype=torch.float64))
    constant = score_draws(
        Effects(teacher=teacher[..., :1].expand(-1, -1, 6), student=student[..., :1].expand(-1, -1, 6), may=both.may),
        n_draws=5,
        seed=0,
    )
    assert float(constant.F.std()) < 1e-9 and bool((constant.ceiling > 1 - 1e-9).all())


def test_the_interval_of_the_limit_by_hand():
    # of 4 prompts Student's t has 3 degrees of freedom: 3.182, at level .5 .7649
    found = limit_interval(0.5, torch.tensor([0.39, 0.41]), n_prompts=4)  # .1 below the score, deviation .01
    assert found == pytest.approx((0.5, 0.5 + 0.24142 + 0.03182), abs=1e-5)  # it holds the score, below .55 - .03182
    found = limit_interval(0.5, torch.tensor([0.45, 0.53]), n_prompts=4, level=0.5)  # .01 below, deviation .04
    assert found == pytest.approx((0.5 + 0.005 - 0.030596, 0.5 + 0.024142 + 0.030596), abs=1e-5)
    found = limit_interval(0.5, torch.tensor([0.47, 0.55]), n_prompts=4, level=0.5)  # above the score
    assert found == pytest.approx((0.5 - 0.024142 - 0.030596, 0.5 - 0.005 + 0.030596), abs=1e-5)
    assert limit_interval(0.95, torch.tensor([0.8, 0.9]), n_prompts=8)[1] == 1
    assert limit_interval(1.0, torch.ones(9), n_prompts=8) == (1, 1)
    assert limit_interval(0.4, torch.tensor([0.4]), n_prompts=4) == pytest.approx((0.4, 0.4))


def test_the_interval_holds_the_score_of_very_many_prompts():
    """Planted fingerprints: what they score without noise is known, and noise lowers every score."""
    teacher, off = rand(6, 8, 1, seed=20), rand(6, 8, 1, seed=21)
    off[:, ::2] = 0  # half of the effects are the same in both models
    student, may = teacher + off, torch.ones(6, 6, dtype=torch.bool)
    without = Half(teacher=teacher[None, ..., 0], student=student[None, ..., 0])
    limit = score_halves(without, without, may=may)
    held, below = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0.0)
    for sample in range(24):
        both = Effects(
            teacher=teacher + 0.5 * rand(6, 8, 24, seed=3000 + sample),
            student=student + 0.5 * rand(6, 8, 24, seed=4000 + sample),
            may=may,
        )
        found, draws = score(both, seed=sample), score_draws(both, n_draws=32, seed=sample)
        for name in NAMES:
            true, value = float(getattr(limit, name)), float(getattr(found, name))
            low, high = limit_interval(value, getattr(draws, name), n_prompts=24)
            held[name] += low <= true <= high
            below[name] += (true - value) / 24
    assert min(held.values()) >= 21 and min(below.values()) > 0.02, (held, below)


def test_the_score_is_the_mean_over_splits():
    """Four prompts can be split in three ways: the score is the mean of eight of these."""
    both = Effects(teacher=planted(14, n_prompts=4), student=planted(15, n_prompts=4), may=torch.ones(6, 6).bool())
    every = [
        score_halves(
            *(
                Half(teacher=both.teacher[..., half].mean(-1)[None], student=both.student[..., half].mean(-1)[None])
                for half in halves
            ),
            may=both.may,
        )
        for halves in (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))
    ]
    for name in (*NAMES, "ceiling"):
        parts = [float(getattr(one, name)) for one in every]
        means = torch.stack([getattr(score(both, seed=seed), name)[0] for seed in range(4)])
        assert min(parts) - 1e-9 <= float(means.min()) and float(means.max()) <= max(parts) + 1e-9
        eighths = {
            round((i * parts[0] + j * parts[1] + (8 - i - j) * parts[2]) / 8, 9) for i in range(9) for j in range(9 - i)
        }
        assert {round(value, 9) for value in means.tolist()} <= eighths


def test_the_centred_interval_by_hand():
    draws = torch.linspace(0.6, 0.8, 201)
    assert centred_interval(0.9, draws, level=0.9) == pytest.approx((0.81, 0.99))
    assert centred_interval(0.95, draws, level=0.9) == pytest.approx((0.86, 1.0))


def test_shuffles_take_away_what_components_react_to():
    teacher = planted(11, noise=0.2)
    may = torch.ones(6, 6, dtype=torch.bool)
    null = shuffled_scores(Effects(teacher=teacher, student=teacher, may=may), n=100, seed=0)
    assert null.shape == (100,) and float(null.max()) < 0.95 and 0 < float(null.mean()) < 0.7
    padded = torch.cat([teacher, torch.zeros(6, 40, 24, dtype=torch.float64)], 1)
    same = shuffled_scores(Effects(teacher=padded, student=padded, may=may), n=100, seed=0)
    torch.testing.assert_close(null, same)  # cells in which nothing happens would make any null look low


def test_draws_are_matched_one_by_one():
    """Many draws at a time give what each gives alone."""
    teacher, student = rand(20, 6, 5, seed=12), rand(20, 4, 5, seed=13)
    may = torch.ones(6, 4, dtype=torch.bool)
    together = match_merging(teacher, student, may=may)
    for draw in range(20):
        assert torch.equal(
            together[draw], match_merging(teacher[draw : draw + 1], student[draw : draw + 1], may=may)[0]
        )
    torch.testing.assert_close(
        merged(teacher, together, 4)[3, 2],
        teacher[3][together[3] == 2].sum(0) if bool((together[3] == 2).any()) else 0 * teacher[3, 0],
    )


def test_a_model_without_components_of_a_type_leaves_the_other_unmatched():
    teacher, student = rand(3, 4, seed=1), torch.zeros(0, 4, dtype=torch.float64)
    assert merging(teacher, student).tolist() == [NOBODY] * 3
    assert share(teacher, student, [NOBODY] * 3) == 0


def test_too_few_prompts_are_refused():
    with pytest.raises(OptionError, match="3 prompts .* give 4 or more"):
        Effects(teacher=planted(0)[..., :3], student=planted(1)[..., :3], may=torch.ones(6, 6, dtype=torch.bool))
