import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuitkit.core.errors import OptionError
from circuitkit.discovery.normalize import normalize_influence

DROPS = torch.tensor([3.0, -4.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("normalize", "sign", "expected"),
    [
        ("max", "clamp", [1, 0, 0, 1 / 3]),
        ("l1", "clamp", [3 / 4, 0, 0, 1 / 4]),
        ("l2", "clamp", [3 / 10**0.5, 0, 0, 1 / 10**0.5]),
        ("max", "abs", [3 / 4, 1, 0, 1 / 4]),
        ("l1", "abs", [3 / 8, 4 / 8, 0, 1 / 8]),
    ],
)
def test_worked_by_hand(normalize, sign, expected):
    torch.testing.assert_close(normalize_influence(DROPS, normalize=normalize, sign=sign), torch.tensor(expected))


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=8), st.floats(0.01, 100))
def test_influence_has_no_unit(drops, factor):
    one = normalize_influence(torch.tensor([drops], dtype=torch.float64))
    scaled = normalize_influence(torch.tensor([drops], dtype=torch.float64) * factor)
    torch.testing.assert_close(one, scaled)
    assert one.min() >= 0
    assert one.max() <= 1


def test_no_influence_anywhere_is_zero():
    assert normalize_influence(-DROPS.abs()).tolist() == [0, 0, 0, 0]


def test_unknown_options():
    with pytest.raises(OptionError, match="'l3' unknown; choose one of max, l1, l2"):
        normalize_influence(DROPS, normalize="l3")
