import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitkit.core.component import Component, all_components
from circuitkit.core.errors import OptionError


@given(st.integers(0, 200), st.none() | st.integers(0, 200))
def test_prints_and_parses(layer, head):
    component = Component(layer, head)
    assert Component.parse(str(component)) == component
    assert component.kind == ("mlp" if head is None else "head")


@pytest.mark.parametrize("text", ["", "L9", "H1", "L1H", "MLP", "l1h1", "L1H1 ", "L-1H0", "MLP1H0"])
def test_anything_else_is_refused(text):
    with pytest.raises(OptionError, match="L9H1"):
        Component.parse(text)


def test_order_is_heads_by_layer_then_mlps():
    assert [str(c) for c in all_components(2, 2)] == ["L0H0", "L0H1", "L1H0", "L1H1", "MLP0", "MLP1"]
