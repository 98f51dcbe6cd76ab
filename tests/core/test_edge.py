import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuitkit.core.component import Component, all_components
from circuitkit.core.edge import EMBED, LOGITS, Edge, EdgeSpace, Receiver, Sender
from circuitkit.core.errors import OptionError

SIZES = st.tuples(st.integers(1, 4), st.integers(1, 4))
HEADS = st.builds(Component, st.integers(0, 200), st.integers(0, 200))
MLPS = st.builds(Component, st.integers(0, 200))


def _upstream(sender, receiver):
    """Whether a model has an edge: the embedding comes first, an MLP after its block's heads, the logits last."""
    if sender.component is None or receiver.component is None:
        return True
    one, other = sender.component, receiver.component
    same_block = one.layer == other.layer and one.head is not None and other.head is None
    return one.layer < other.layer or same_block


@given(st.just(EMBED) | st.builds(Sender, HEADS | MLPS))
def test_senders_print_and_parse(sender):
    assert Sender.parse(str(sender)) == sender


@given(st.just(LOGITS) | st.builds(Receiver, MLPS) | st.builds(Receiver, HEADS, st.sampled_from("qkv")))
def test_receivers_print_and_parse(receiver):
    assert Receiver.parse(str(receiver)) == receiver


def test_names():
    names = [str(EMBED), str(LOGITS), str(Sender(Component(2, 1))), str(Receiver(Component(2, 3), "k"))]
    assert names == ["embed", "logits", "L2H1", "L2H3.k"]
    assert str(Receiver(Component(4))) == "MLP4"
    assert str(Edge(Sender(Component(0)), Receiver(Component(1, 0), "v"))) == "MLP0->L1H0.v"


@pytest.mark.parametrize("text", ["", "Embed", "embed ", "logits", "L2H1.q", "H1", "MLP", "L-1H0", "MLP1H0"])
def test_senders_that_are_none(text):
    with pytest.raises(OptionError, match=r"not understood; wanted a head such as L9H1"):
        Sender.parse(text)


@pytest.mark.parametrize("text", ["", "embed", "Logits", "L2H1.o", "L2H1.Q", "L2H1.", "L2H1.qk", "MLP2.q", " L2H1.q"])
def test_receivers_that_are_none(text):
    with pytest.raises(OptionError, match=r"not understood; wanted a head such as L9H1"):
        Receiver.parse(text)


def test_a_head_receives_in_three_places():
    with pytest.raises(OptionError, match=r"'L2H1' does not say which input; wanted L2H1.q, L2H1.k or L2H1.v"):
        Receiver.parse("L2H1")


def test_order_is_the_order_of_computing():
    space = EdgeSpace(2, 2)
    assert [str(s) for s in space.senders] == ["embed", "L0H0", "L0H1", "MLP0", "L1H0", "L1H1", "MLP1"]
    assert " ".join(str(r) for r in space.receivers) == (
        "L0H0.q L0H0.k L0H0.v L0H1.q L0H1.k L0H1.v MLP0 L1H0.q L1H0.k L1H0.v L1H1.q L1H1.k L1H1.v MLP1 logits"
    )


@given(SIZES)
def test_indices_are_places_in_the_order(size):
    space = EdgeSpace(*size)
    assert [space.senders[i] for i in space.sender_index.values()] == list(space.sender_index)
    assert [space.receivers[i] for i in space.receiver_index.values()] == list(space.receiver_index)
    assert len(set(space.senders)) == len(space.senders) and len(set(space.receivers)) == len(space.receivers)
    assert {s.component for s in space.senders} == {None, *all_components(*size)}
    inputs = {(c, i) for c in all_components(*size) for i in ("qkv" if c.head is not None else [None])}
    assert {(r.component, r.input) for r in space.receivers} == {(None, None), *inputs}


@given(SIZES)
def test_edges_go_from_earlier_to_later(size):
    space = EdgeSpace(*size)
    wanted = [
        Edge(sender, receiver)
        for receiver, sender in itertools.product(space.receivers, space.senders)
        if _upstream(sender, receiver)
    ]
    assert space.edges() == wanted
    for row, receiver in enumerate(space.receivers):
        assert space.n_upstream(receiver) == int(space.possible[row].sum())


@given(SIZES)
def test_count_by_formula(size):
    n_layers, n_heads = size
    blocks_before = n_layers * (n_layers - 1) // 2
    to_heads = 3 * n_heads * (n_layers + (n_heads + 1) * blocks_before)
    to_mlps = n_layers * (1 + n_heads) + (n_heads + 1) * blocks_before
    to_logits = 1 + n_layers * (n_heads + 1)
    assert EdgeSpace(*size).n_edges == to_heads + to_mlps + to_logits == len(EdgeSpace(*size).edges())


def test_count_of_gpt2_small():
    """32,491 edges with queries, keys and values apart: Syed et al. 2023, Hanna et al. 2024."""
    assert EdgeSpace(12, 12).n_edges == 32_491


@given(SIZES, st.integers(0, 2**31))
def test_sets_as_tensors_and_back(size, seed):
    space = EdgeSpace(*size)
    drawn = torch.rand(space.possible.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    edges = space.edges(drawn)
    assert torch.equal(space.mask(edges), drawn & space.possible)
    assert torch.equal(space.mask(edges[::-1] + edges), drawn & space.possible)
    assert edges == [edge for edge in space.edges() if edge in set(edges)]


def test_empty_set():
    assert EdgeSpace(2, 2).edges(EdgeSpace(2, 2).mask([])) == []


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [
        ("L1H0", "L0H0.q"),
        ("L0H0", "L0H1.v"),
        ("MLP0", "MLP0"),
        ("L0H0", "L0H0.k"),
        ("MLP0", "L0H1.k"),
        ("MLP1", "MLP0"),
    ],
)
def test_edges_that_run_backwards(sender, receiver):
    with pytest.raises(
        OptionError, match=rf"{sender}->{receiver} is not in a model of 2 layers of 2 heads, where every"
    ):
        EdgeSpace(2, 2).mask([Edge(EMBED, LOGITS), Edge(Sender.parse(sender), Receiver.parse(receiver))])


@pytest.mark.parametrize(
    ("sender", "receiver"), [("L2H0", "logits"), ("L0H2", "logits"), ("embed", "L0H2.q"), ("embed", "MLP2")]
)
def test_edges_of_larger_models(sender, receiver):
    with pytest.raises(OptionError, match=r"is not in a model of 2 layers of 2 heads"):
        EdgeSpace(2, 2).mask([Edge(Sender.parse(sender), Receiver.parse(receiver))])


@given(SIZES, st.integers(0, 2**31))
def test_edges_of_nodes(size, seed):
    space = EdgeSpace(*size)
    components = all_components(*size)
    drawn = torch.rand(len(components), generator=torch.Generator().manual_seed(seed)) < 0.5
    nodes = {component for component, chosen in zip(components, drawn, strict=True) if chosen}
    written = [edge for edge in space.edges() if edge.sender.component in {None, *nodes}]
    assert space.edges(space.of_nodes(nodes)) == written
    assert space.edges(space.between(nodes)) == [e for e in written if e.receiver.component in {None, *nodes}]
    assert torch.equal(space.of_nodes(iter(nodes)), space.of_nodes(nodes))
    assert torch.equal(space.between(iter(nodes)), space.between(nodes))


@given(SIZES)
def test_all_nodes_and_none(size):
    space = EdgeSpace(*size)
    everything = all_components(*size)
    assert torch.equal(space.of_nodes(everything), space.possible)
    assert torch.equal(space.between(everything), space.possible)
    assert {edge.sender for edge in space.edges(space.of_nodes([]))} == {EMBED}
    assert space.edges(space.between([])) == [Edge(EMBED, LOGITS)]


def test_sets_of_nodes_name_what_the_model_lacks():
    space = EdgeSpace(2, 2)
    for build in (space.of_nodes, space.between):
        with pytest.raises(OptionError, match="L2H0 is not in a model of 2 layers of 2 heads"):
            build([Component(2, 0)])
