"""Matching against hand-worked cases, brute force and laws."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_similarity, random_similarity

from circuitkit.alignment.matching import match_components

HEADS = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.3, 0.2], [-0.5, 0.0, -0.1]])
MLPS = torch.tensor([[0.2, 0.7], [0.6, 0.5]])


def links(matching) -> list[tuple[int, int]]:
    return list(zip(matching.teacher.tolist(), matching.student.tolist(), strict=True))


def test_greedy_worked_by_hand():
    matching = match_components(make_similarity(HEADS, MLPS))
    assert links(matching) == [(0, 0), (1, 0), (2, 1), (3, 4), (4, 3)]
    torch.testing.assert_close(matching.similarity, torch.tensor([0.9, 0.9, 0.0, 0.7, 0.6]).double())
    assert matching.unmatched_teacher == ()
    assert matching.unmatched_student == (2,)


def test_greedy_from_the_student_worked_by_hand():
    matching = match_components(make_similarity(HEADS, MLPS), direction="student")
    assert sorted(links(matching)) == [(0, 0), (0, 1), (1, 2), (3, 4), (4, 3)]
    assert matching.unmatched_teacher == (2,)
    assert matching.unmatched_student == ()


def test_hungarian_worked_by_hand():
    matching = match_components(make_similarity(HEADS, MLPS), method="hungarian")
    assert links(matching) == [(0, 1), (1, 0), (2, 2), (3, 4), (4, 3)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n_teacher", "n_student"), [(4, 4), (5, 3), (3, 5), (1, 4)])
def test_hungarian_equals_brute_force(seed, n_teacher, n_student):
    similarity = random_similarity(seed, teacher=(n_teacher, 1), student=(n_student, 1))
    matching = match_components(similarity, method="hungarian")
    values, small = similarity.heads.tolist(), min(n_teacher, n_student)
    best = max(
        sum(values[row][column] for row, column in zip(rows, columns, strict=True))
        for rows in itertools.combinations(range(n_teacher), small)
        for columns in itertools.permutations(range(n_student), small)
    )
    assert float(matching.similarity[:small].sum()) == pytest.approx(best)
    assert len(matching.unmatched_teacher) == n_teacher - small
    assert len(matching.unmatched_student) == n_student - small


def test_soft_worked_by_hand():
    row = torch.tensor([[0.5, 0.1, -0.2, 0.9, 0.3, 0.7, 0.0]])
    matching = match_components(make_similarity(row, torch.ones(1, 1)), method="soft")
    assert links(matching)[:5] == [(0, 3), (0, 5), (0, 0), (0, 4), (0, 1)]
    powers = torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1], dtype=torch.float64).exp()
    torch.testing.assert_close(matching.weight[:5], powers / powers.sum(), atol=1e-6, rtol=0)
    assert matching.weight[5] == 1
    assert matching.unmatched_student == (2, 6)


def test_top_k_leaves_the_others_out_of_the_game():
    chosen = torch.tensor([True, False, True, False, True])
    matching = match_components(
        make_similarity(HEADS, MLPS), teacher_allowed=chosen, student_allowed=~chosen | (torch.arange(5) == 2)
    )
    assert links(matching) == [(0, 1), (2, 1), (4, 3)]
    assert matching.unmatched_student == (2,)


def test_nothing_in_common_gives_no_pairs():
    heads_only, mlps_only = torch.arange(5) < 3, torch.arange(5) >= 3
    matching = match_components(make_similarity(HEADS, MLPS), teacher_allowed=heads_only, student_allowed=mlps_only)
    assert len(matching) == 0
    assert matching.unmatched_teacher == (0, 1, 2)


@given(
    seed=st.integers(0, 10**6), order=st.permutations(range(6)), method=st.sampled_from(["greedy", "hungarian", "soft"])
)
def test_matching_ignores_student_order(seed, order, method):
    similarity = random_similarity(seed)
    shuffled = make_similarity(similarity.heads[:, order], similarity.mlps)
    original, found = (match_components(s, method=method) for s in (similarity, shuffled))
    renamed = [(t, order[s] if s < 6 else s) for t, s in links(found)]
    assert sorted(renamed) == sorted(links(original))
    assert found.mean_similarity == pytest.approx(original.mean_similarity)


@given(seed=st.integers(0, 10**6), method=st.sampled_from(["greedy", "hungarian", "soft"]))
def test_direction_is_transposition(seed, method):
    similarity = random_similarity(seed, teacher=(6, 2), student=(3, 1))
    flipped = make_similarity(similarity.heads.T, similarity.mlps.T)
    one = match_components(similarity, method=method, direction="student")
    other = match_components(flipped, method=method, direction="teacher")
    assert sorted(links(one)) == sorted((t, s) for s, t in links(other))


@given(seed=st.integers(0, 10**6))
def test_greedy_is_never_less_similar_than_hungarian(seed):
    similarity = random_similarity(seed)
    greedy, hungarian = (match_components(similarity, method=m) for m in ("greedy", "hungarian"))
    assert greedy.mean_similarity >= hungarian.mean_similarity - 1e-12
