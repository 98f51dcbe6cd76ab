"""The tests behind the roles against exact distributions, hand-worked numbers and simulated nulls."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from circuitkit.core.errors import OptionError
from circuitkit.roles.attention_null import chance_weights
from circuitkit.roles.attention_to import RoleAttention
from circuitkit.roles.evidence import Floors, attention_evidence, effect_evidence, intervals, share_evidence
from circuitkit.roles.significance import adjusted, all_hold, any_holds, p_above_chance, p_above_zero


@settings(deadline=None, max_examples=60)
@given(n=st.integers(8, 200), chance=st.floats(0.01, 0.95), share=st.floats(0, 1))
def test_the_bound_is_never_below_the_exact_binomial_tail(n, chance, share):
    hits = round(share * n)
    found = p_above_chance(torch.tensor([hits / n]), torch.tensor([chance]), n_prompts=n)
    exact = binom.sf(hits - 1, n, float(torch.tensor(chance)))
    assert float(found) >= exact * (1 - 1e-5)


def test_the_bound_by_hand():
    # all of 10 above a fair coin: exp(-10 log 2) = 2^-10
    found = p_above_chance(torch.tensor([1.0, 0.5]), torch.tensor([0.5, 0.5]), n_prompts=10)
    assert found.tolist() == pytest.approx([2**-10, 1.0])


def test_few_prompts_prove_nothing():
    assert p_above_chance(torch.tensor([1.0]), torch.tensor([0.1]), n_prompts=7).tolist() == [1]
    assert p_above_zero(torch.full((2, 7), 5.0)).tolist() == [1, 1]
    assert p_above_zero(torch.ones(1, 1)).tolist() == [1]


def test_p_above_zero_is_uniform_under_the_null():
    noise = torch.randn(4000, 20, generator=torch.Generator().manual_seed(0))
    assert kstest(p_above_zero(noise).numpy(), "uniform").pvalue > 0.01
    # skewed as attention and effects are: the share of small p-values stays below what they say
    skewed = torch.distributions.Exponential(1.0).sample((4000, 30)) - 1
    assert float((p_above_zero(skewed) <= 0.05).double().mean()) <= 0.055


def test_constant_values_are_certain():
    assert p_above_zero(torch.stack([torch.full((9,), v) for v in (0.3, 0.0, -0.3)])).tolist() == [0, 1, 1]


def test_combinations_and_false_discovery_rates_by_hand():
    a, b = torch.tensor([0.01, 0.2]), torch.tensor([0.03, 0.6])
    assert all_hold(a, b).tolist() == pytest.approx([0.03, 0.6])
    assert any_holds(a, b).tolist() == pytest.approx([0.02, 0.4])
    # Benjamini-Hochberg: p_(i) m / i, made monotone from the largest down
    assert adjusted(torch.tensor([0.01, 0.04, 0.03, 0.5])).tolist() == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert len(adjusted(torch.zeros(0))) == 0


def test_chance_is_the_mean_over_drawn_keys():
    generator = torch.Generator().manual_seed(0)
    pattern = torch.rand(6, 6, generator=generator).tril().softmax(-1)
    could = torch.ones(6, 6, dtype=torch.bool).tril(-1)
    could[:, 0] = False
    keys = torch.zeros_like(could)
    keys[4, 2] = keys[5, 1] = keys[5, 3] = True
    expected = float((chance_weights(keys, could) * pattern).sum() / 2)
    draws: list[float] = []
    for _ in range(20_000):
        total = 0.0
        for query in (4, 5):
            places = could[query].nonzero()[:, 0]
            drawn = places[torch.randperm(len(places), generator=generator)[: int(keys[query].sum())]]
            total += float(pattern[query, drawn].sum())
        draws.append(total / 2)
    assert expected == pytest.approx(np.mean(draws), abs=4 * np.std(draws) / len(draws) ** 0.5)


def test_heads_that_read_at_random_are_rarely_found_to_read_a_role():
    """Sharp heads: each prompt's whole attention on one of 10 tokens; the role's key is one of them."""
    generator = torch.Generator().manual_seed(1)
    mass = (torch.randint(10, (2000, 64), generator=generator) == 0).float()
    found = RoleAttention(mass=mass, chance=torch.full_like(mass, 0.1))
    every = torch.ones(64, dtype=torch.bool)
    no_floor = attention_evidence(found, every, floor=0.0, interval=intervals(64, n_draws=0, seed=0))
    assert float((no_floor.p <= 0.05).double().mean()) <= 0.05
    with_floor = attention_evidence(found, every, floor=0.2, interval=intervals(64, n_draws=0, seed=0))
    assert float((with_floor.p <= 0.05).double().mean()) == 0


def test_at_the_floor_claims_are_as_rare_as_alpha_says():
    """Effects of mean exactly 2% of the logit difference, shares of exactly one half."""
    generator = torch.Generator().manual_seed(2)
    clean = 5 + torch.randn(64, generator=generator)
    effects = 0.02 * clean + torch.randn(3000, 64, generator=generator)
    none = intervals(64, n_draws=0, seed=0)
    options = {"n_heads": 3000, "floor": 0.02, "interval": none}
    one_sided = effect_evidence(effects, None, clean, range(3000), helps=True, **options)
    assert float((one_sided.p <= 0.05).double().mean()) == pytest.approx(0.05, abs=0.015)
    either = effect_evidence(0 * effects + torch.randn(3000, 64, generator=generator), None, clean, range(3000),
                             helps=False, **options)  # fmt: skip
    assert float((either.p <= 0.05).double().mean()) <= 0.05
    hits = (torch.rand(3000, 64, generator=generator) < 0.5).float()
    shares = share_evidence(hits, torch.full((3000,), 0.1), torch.ones(64, dtype=torch.bool), floor=0.5, interval=none)
    assert float((shares.p <= 0.05).double().mean()) <= 0.05


def test_an_effect_that_other_heads_have_too_is_none():
    clean, effects = torch.full((20,), 5.0), torch.full((1, 20), 1.0)
    noise = torch.randn(20, generator=torch.Generator().manual_seed(0))
    none = intervals(20, n_draws=0, seed=0)
    options = {"n_heads": 1, "floor": 0.02, "helps": True, "interval": none}
    alone = effect_evidence(effects + 0.1 * noise, torch.zeros(20), clean, [0], **options)
    common = effect_evidence(effects + 0.1 * noise, torch.full((20,), 1.2), clean, [0], **options)
    assert float(alone.p) < 1e-6 and float(common.p) > 0.99


@pytest.mark.parametrize("bad", [{"alpha": 0}, {"alpha": 1}, {"attention": 1.0}, {"effect": -0.1}, {"write": 2}])
def test_floors_out_of_range(bad):
    with pytest.raises(OptionError):
        Floors(**{name: float(value) for name, value in bad.items()})


def test_floors_that_are_no_numbers():
    with pytest.raises(OptionError):
        Floors(effect=float("nan"))
