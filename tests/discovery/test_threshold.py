"""Influences made of plain numbers, turned into circuits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuitkit.core.component import Component, all_components
from circuitkit.core.errors import OptionError
from circuitkit.discovery.influence_result import Influence
from circuitkit.discovery.threshold import influential_nodes
from circuitkit.models.info import ModelInfo

DROPS = [0.0, 2.0, -3.0, 1.0, 4.0, -0.5]  # L0H0 L0H1 L1H0 L1H1 MLP0 MLP1
MODEL = ModelInfo(
    name="made-up",
    family="gpt2",
    n_layers=2,
    n_heads=2,
    n_kv_heads=2,
    d_model=4,
    d_head=2,
    d_mlp=8,
    n_params=1,
    max_length=8,
    vocab_size=9,
    weights_sha256="0",
    revision=None,
)


def make(drops: list[float] = DROPS, *, sign: str = "clamp", clean: tuple[float, ...] = (8.0, 12.0)) -> Influence:
    values = torch.tensor(clean)
    return Influence(
        model=MODEL,
        task={},
        components=all_components(2, 2),
        clean=values,
        ablated=values - torch.tensor(drops)[:, None],
        normalize="max",
        sign=sign,
        n_draws=0,
        settings={"seed": 0},
        made_with={},
        notices=(),
    )


def names(nodes: tuple[Component, ...]) -> list[str]:
    return [str(node) for node in nodes]


def test_by_influence():
    assert names(influential_nodes(make(), threshold=0.5)) == ["L0H1", "MLP0"]  # .5 and 1
    assert names(influential_nodes(make(), threshold=0.51)) == ["MLP0"]
    assert names(influential_nodes(make(), threshold=0.25)) == ["L0H1", "MLP0", "L1H1"]
    assert names(influential_nodes(make(sign="abs"), threshold=0.7)) == ["MLP0", "L1H0"]  # 4 and 3 of 4


def test_by_share_of_the_logit_difference():
    assert names(influential_nodes(make(), drop_share=0.2)) == ["L0H1", "MLP0"]  # 2 and 4 of 10
    assert names(influential_nodes(make(sign="abs"), drop_share=0.2)) == ["L0H1", "MLP0"]  # what helps is no drop
    assert influential_nodes(make(), drop_share=0.41) == ()


def test_top():
    assert names(influential_nodes(make(), top=1)) == ["MLP0"]
    assert names(influential_nodes(make(), top=3)) == ["L0H1", "MLP0", "L1H1"]
    assert names(influential_nodes(make(), top=5)) == ["L0H0", "L0H1", "MLP0", "L1H1", "MLP1"]  # -.5 before -3
    assert names(influential_nodes(make(sign="abs"), top=2)) == ["MLP0", "L1H0"]
    assert names(influential_nodes(make([1.0] * 6), top=2)) == ["L0H0", "L0H1"]


@given(st.lists(st.floats(-5, 5, width=16), min_size=6, max_size=6), st.floats(0.01, 1), st.integers(1, 6))
def test_laws(drops, threshold, top):
    found = make(drops)
    some = influential_nodes(found, threshold=threshold)
    assert set(influential_nodes(found, threshold=1.0)) <= set(some)
    assert len(influential_nodes(found, top=top)) == top
    if some:  # a threshold keeps the most influential
        values = dict(zip(found.components, found.values.tolist(), strict=True))
        as_many = influential_nodes(found, top=len(some))
        assert sorted(values[c] for c in some) == sorted(values[c] for c in as_many)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "No rule given to choose a circuit by; give exactly one of threshold, drop_share and top"),
        ({"threshold": 0.5, "top": 3}, "threshold and top given"),
        ({"threshold": 0.0}, "An influence threshold of 0 is out of range"),
        ({"threshold": 1.5}, "An influence threshold of 1.5 is out of range"),
        ({"drop_share": -0.2}, "A drop share of -0.2 is out of range"),
        ({"top": 0}, "circuit of 0 components was asked for; give 1 to 6"),
        ({"top": 7}, "circuit of 7 components"),
    ],
)
def test_refusals(rule, message):
    with pytest.raises(OptionError, match=message):
        influential_nodes(make(), **rule)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(OptionError, match=r"made-up \(0.00\) is not clearly above 0"):
        influential_nodes(make(clean=(1.0, -1.0)), drop_share=0.2)
