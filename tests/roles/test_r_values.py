"""The false discovery rate of screen and follow-up: by hand, and in simulations of tests that depend on each other."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitkit.roles.significance import adjusted, all_hold, r_values

ALPHA, N_TESTS, N_RUNS = 0.05, 500, 600


def test_by_hand():
    # three of ten are followed up: e = max(20 p1, 6 p2) = 0.02, 0.06 and 0.4; by rank 0.02, 0.03 and 0.4 / 3
    screen = torch.tensor([0.001, 0.02, 0.3, 0.6, 0.002, 0.9, 0.9, 0.9, 0.9, 0.9])
    follow = torch.tensor([0.002, 0.01, 0.0, 1.0, 0.01, 1.0, 1.0, 1.0, 1.0, 1.0])
    found = r_values(screen, follow, alpha=0.05)
    assert found[[0, 4, 1]].tolist() == pytest.approx([0.02, 0.03, 0.4 / 3])
    assert set(found[[2, 3, 5, 6, 7, 8, 9]].tolist()) == {1.0}


def test_what_needs_no_follow_up_is_judged_by_the_screen():
    screen = torch.tensor([0.001, 0.04, 0.5, 0.5])
    # of e = 8 p1 = 0.008 and 0.32
    assert r_values(screen, torch.tensor([0.0, 0.0, 1.0, 1.0]), alpha=0.05).tolist() == pytest.approx(
        [0.008, 0.16, 1.0, 1.0]
    )


def test_nothing_is_followed_up():
    assert r_values(torch.zeros(0), torch.zeros(0), alpha=0.05).tolist() == []
    assert r_values(torch.full((3,), 0.2), torch.zeros(3), alpha=0.05).tolist() == [1, 1, 1]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), alpha=st.sampled_from([0.01, 0.05, 0.3]))
def test_claims_are_those_of_the_step_up_procedure(seed, alpha):
    """Bogomolov and Heller 2013: the most tests r of which all have p1 <= r alpha / 2m and p2 <= r alpha / 2k."""
    generator = torch.Generator().manual_seed(seed)
    p1, p2 = (torch.rand(60, generator=generator, dtype=torch.float64) ** power for power in (6, 4))
    k = int((p1 <= alpha).sum())
    claims = torch.zeros(60, dtype=torch.bool)
    for r in range(1, k + 1):
        held = (p1 <= alpha) & (p1 <= r * alpha / 120) & (p2 <= r * alpha / (2 * k))
        claims = held if int(held.sum()) >= r else claims
    assert (r_values(p1, p2, alpha=alpha) <= alpha).tolist() == claims.tolist()


@dataclass(frozen=True)
class World:
    """Tests of which some have both parts, only what is screened, or only what is followed up; normal scores.

    Attributes:
        both, first, second: How many have which part.
        shift: Mean scores of the parts that are there.
        within: Correlation of the two scores of one test.
        between: Share of the variance of scores that all tests have in common, as from the same prompts.
    """

    both: int = 0
    first: int = 0
    second: int = 0
    shift: tuple[float, float] = (5.0, 4.0)
    within: float = 0.0
    between: float = 0.0

    def draw(self, generator):
        """P-values of both parts."""
        one, two = torch.zeros(N_TESTS), torch.zeros(N_TESTS)
        one[: self.both + self.first] = self.shift[0]
        two[: self.both] = two[self.both + self.first :][: self.second] = self.shift[1]
        noise = [
            (1 - self.between) ** 0.5 * torch.randn(N_TESTS, generator=generator)
            + self.between**0.5 * torch.randn(1, generator=generator)
            for _ in range(2)
        ]
        noise[1] = self.within * noise[0] + (1 - self.within**2) ** 0.5 * noise[1]
        return tuple(1 - torch.special.ndtr((mean + e).double()) for mean, e in zip((one, two), noise, strict=True))

    def judged(self):
        """Mean share of false claims and mean share of true ones found, of r-values and of the largest p-values."""
        generator = torch.Generator().manual_seed(0)
        false, found = (torch.zeros(2, N_RUNS, dtype=torch.float64) for _ in range(2))
        for run in range(N_RUNS):
            p1, p2 = self.draw(generator)
            tried = p1 <= ALPHA
            old = adjusted(torch.where(tried, all_hold(p1, p2), p1))
            for row, rates in enumerate((r_values(p1, p2, alpha=ALPHA), old)):
                claims = rates <= ALPHA
                false[row, run] = claims[self.both :].sum() / max(1, int(claims.sum()))
                found[row, run] = claims[: self.both].sum() / max(1, self.both)
        return false.mean(1), found.mean(1)


WORLDS = {
    "nothing": World(),
    "nothing, parts alike": World(within=0.95),
    "nothing, tests alike": World(within=0.6, between=0.3),
    "all read, none matters": World(first=100),
    "all read, none matters, parts alike": World(first=100, within=0.9),
    "all read a little, parts alike": World(first=100, shift=(2.0, 4.0), within=0.9),
    "all read somewhat, parts alike": World(first=100, shift=(3.0, 4.0), within=0.99),
    "all matter, none reads": World(second=100, within=0.9),
    "some of each": World(both=20, first=100, second=100),
    "some of each, parts alike": World(both=20, first=100, second=100, within=0.9),
    "some of each, tests alike": World(both=20, first=100, second=100, within=0.6, between=0.4),
    "some of each, hard to see": World(both=20, first=100, second=100, shift=(3.5, 3.5), within=0.8),
}


@pytest.mark.parametrize("name", WORLDS)
def test_false_claims_are_as_rare_as_alpha_says(name):
    false, _ = WORLDS[name].judged()
    assert float(false[0]) <= ALPHA


@pytest.mark.parametrize("first", [0, 20])
def test_more_is_found_than_by_the_largest_p_values(first):
    _, found = World(both=20, first=first, second=20).judged()
    assert float(found[0]) > float(found[1]) + 0.05
