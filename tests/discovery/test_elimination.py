"""Many parts at a time against a loop over parts, on set functions that know nothing of models."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitkit.discovery.elimination import Eliminator

SHAPE = (6, 10)


def _plain(kept, before, parts, measure, may_go):
    """The algorithm as it is written down: try a part, keep the result or not, take the next."""
    decisions = []
    for part in parts:
        without = kept & ~part
        value = measure(without)
        removed = may_go(before, value)
        decisions.append((removed, value))
        if removed:
            kept, before = without, value
    return decisions


def _set_function(seed, monotone):
    """A random function of a set of edges; sums in whole numbers, so that batching cannot change it."""
    generator = torch.Generator().manual_seed(seed)
    low = 0 if monotone else -50
    weight = torch.randint(low, 100, SHAPE, generator=generator)
    pair = torch.randint(low, 100, (SHAPE[0] * SHAPE[1],) * 2, generator=generator) // 20

    def value(kept):
        x = kept.flatten().long()
        return float((kept * weight).sum() + x @ pair @ x)

    return value


def _random_parts(seed, n, overlap):
    """Parts of the edges; disjoint, or with edges in common."""
    generator = torch.Generator().manual_seed(seed)
    if overlap:
        return list(torch.rand(n, *SHAPE, generator=generator) < 0.1)
    owner = torch.randint(max(n, 1), SHAPE, generator=generator)
    return [owner == i for i in range(n)]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(0, 80),
    share=st.floats(0.0, 1.2),
    monotone=st.booleans(),
    overlap=st.booleans(),
    relative=st.booleans(),
)
def test_decisions_are_those_of_a_loop(seed, n, share, monotone, overlap, relative):
    """The rule may look at the value alone (pruning) or at the fall of it (ACDC)."""
    value, parts = _set_function(seed, monotone), _random_parts(seed, n, overlap)
    kept = torch.ones(SHAPE, dtype=torch.bool)
    full = value(kept)

    def may_go(before, after):
        return before - after <= share * 150 if relative else after >= share * full

    def measure(sets):
        assert len(sets) > 0
        return torch.tensor([value(x) for x in sets], dtype=torch.float64)

    expected = _plain(kept, full, parts, value, may_go)
    for plain in (True, False):
        eliminator = Eliminator(measure, may_go, one_at_a_time=plain)
        found = list(eliminator.run(kept, full, parts))
        assert [d.index for d in found] == list(range(n))
        assert [(d.removed, d.value) for d in found] == expected
        assert eliminator.evaluations >= n
        if plain:
            assert eliminator.evaluations == n
    assert bool(kept.all())


def test_runs_without_surprises_cost_one_evaluation_a_part():
    """Where all may go, or after a while all must stay, next to nothing is run in vain."""
    parts = [torch.arange(60).view(SHAPE) == i for i in range(60)]
    for all_go in (True, False):
        eliminator = Eliminator(lambda sets: torch.zeros(len(sets)), lambda _before, _after, go=all_go: go)
        for _ in range(10):
            assert len(list(eliminator.run(torch.ones(SHAPE, dtype=torch.bool), 0.0, parts))) == 60
        assert 600 <= eliminator.evaluations <= 600 * (1 if all_go else 1.2)
