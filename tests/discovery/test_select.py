"""Sets of edges against slow searches that say the same in other words."""

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitkit.core.edge import EMBED, LOGITS, Edge, EdgeSpace, Receiver, Sender
from circuitkit.core.errors import OptionError
from circuitkit.discovery.select import connected_top_n, threshold, top_n, without_dead_ends

SPACE = EdgeSpace(n_layers=2, n_heads=2)


def random_scores(seed: int) -> torch.Tensor:
    """Distinct sizes, both signs; numbers also where there is no edge."""
    generator = torch.Generator().manual_seed(seed)
    size = 1 + torch.randperm(SPACE.possible.numel(), generator=generator).view(SPACE.possible.shape)
    sign = torch.randint(0, 2, SPACE.possible.shape, generator=generator) * 2 - 1
    return 0.1 * size * sign


def score_of(scores, edge: Edge, by: str) -> float:
    value = float(scores[SPACE.receiver_index[edge.receiver], SPACE.sender_index[edge.sender]])
    return abs(value) if by == "size" else value


def edge(text: str) -> Edge:
    sender, receiver = text.split("->")
    return Edge(Sender.parse(sender), Receiver.parse(receiver))


cases = given(seed=st.integers(0, 10**6), n=st.integers(1, SPACE.n_edges), by=st.sampled_from(["size", "value"]))


@settings(deadline=None, max_examples=30)
@cases
def test_the_n_best(seed, n, by):
    scores = random_scores(seed)
    best = sorted(SPACE.edges(), key=lambda e: -score_of(scores, e, by))[:n]
    assert torch.equal(top_n(SPACE, scores, n, by=by), SPACE.mask(best))


@settings(deadline=None, max_examples=30)
@cases
def test_a_threshold_that_lies_between_two_scores(seed, n, by):
    scores = random_scores(seed)
    tau = sorted((score_of(scores, e, by) for e in SPACE.edges()), reverse=True)[n - 1] - 0.05
    assert torch.equal(threshold(SPACE, scores, tau, by=by), top_n(SPACE, scores, n, by=by))


@settings(deadline=None, max_examples=30)
@cases
def test_greedy_search_adds_the_best_edge_that_leads_on_to_the_logits(seed, n, by):
    scores = random_scores(seed)
    kept: list[Edge] = []
    for _ in range(n):
        reached = {None, *(e.sender.component for e in kept)}
        open_edges = [e for e in SPACE.edges() if e not in kept and e.receiver.component in reached]
        kept.append(max(open_edges, key=lambda e: score_of(scores, e, by)))
    assert torch.equal(connected_top_n(SPACE, scores, n, by=by), SPACE.mask(kept))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.1, 0.3, 0.6, 1.0]))
def test_what_is_left_without_dead_ends_lies_on_a_path(seed, share):
    kept = SPACE.possible & (torch.rand(SPACE.possible.shape, generator=torch.Generator().manual_seed(seed)) < share)
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(["embed", "logits"])
    for e in SPACE.edges(kept):
        graph.add_edge(str(e.sender), str(e.receiver).split(".")[0], key=str(e))
    on_paths = {key for path in nx.all_simple_edge_paths(graph, "embed", "logits") for _, _, key in path}
    found = without_dead_ends(SPACE, kept)
    assert {str(e) for e in SPACE.edges(found)} == on_paths
    assert torch.equal(without_dead_ends(SPACE, found), found)


def test_of_two_parts_of_a_path_and_a_dead_end_the_path_is_left():
    path = ["embed->L0H1.v", "L0H1->MLP1", "MLP1->logits"]
    dead = ["L0H0->MLP1", "embed->L1H0.k", "MLP0->L1H1.q"]
    kept = SPACE.mask(edge(text) for text in path + dead)
    assert torch.equal(without_dead_ends(SPACE, kept), SPACE.mask(edge(text) for text in path))
    assert not without_dead_ends(SPACE, SPACE.mask(edge(text) for text in dead)).any()


def test_of_equals_those_that_stand_first_are_taken():
    scores = torch.zeros(SPACE.possible.shape)
    assert [str(e) for e in SPACE.edges(top_n(SPACE, scores, 2))] == ["embed->L0H0.q", "embed->L0H0.k"]
    first = [Edge(EMBED, LOGITS), edge("L0H0->logits")]
    assert set(SPACE.edges(connected_top_n(SPACE, scores, 2))) >= {first[0]}


@pytest.mark.parametrize("n", [0, -1, SPACE.n_edges + 1])
@pytest.mark.parametrize("choose", [top_n, connected_top_n])
def test_numbers_of_edges_that_cannot_be(choose, n):
    with pytest.raises(OptionError, match=f"has {SPACE.n_edges}"):
        choose(SPACE, random_scores(0), n)


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan")])
def test_thresholds_that_choose_nothing_or_everything(tau):
    with pytest.raises(OptionError, match="Threshold"):
        threshold(SPACE, random_scores(0), tau)


def test_a_signed_threshold_may_be_negative():
    scores = random_scores(0)
    assert torch.equal(threshold(SPACE, scores, -1.0, by="value"), (scores >= -1) & SPACE.possible)
    with pytest.raises(OptionError, match="Threshold"):
        threshold(SPACE, scores, float("nan"), by="value")


@pytest.mark.parametrize(("choose", "limit"), [(top_n, 1), (connected_top_n, 1), (threshold, 1.0)])
def test_scores_that_are_none(choose, limit):
    broken = random_scores(0)
    broken[-1, 0] = torch.nan
    with pytest.raises(OptionError, match="not a number"):
        choose(SPACE, broken, limit)
    with pytest.raises(OptionError, match="shape"):
        choose(SPACE, broken[:-1], limit)
    with pytest.raises(OptionError, match="choose one of size, value"):
        choose(SPACE, random_scores(0), limit, by="rank")
