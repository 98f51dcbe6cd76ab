"""Agreement with a reference circuit: hand-worked counts, brute force over pairs, and refusals."""

import json

import pytest
import torch

from circuitkit.core.component import Component
from circuitkit.core.edge import EdgeSpace
from circuitkit.core.errors import OptionError
from circuitkit.discovery.reference import compare_with_reference

SPACE = EdgeSpace(2, 2)


def edges(*indices: int) -> torch.Tensor:
    chosen = torch.zeros(SPACE.n_edges, dtype=torch.bool)
    chosen[list(indices)] = True
    out = torch.zeros_like(SPACE.possible)
    out[SPACE.possible] = chosen
    return out


def test_worked_by_hand():
    found = compare_with_reference(SPACE, edges(0, 1, 2, 3), edges(2, 3, 4, 5, 6))
    assert (found.n_found, found.n_reference, found.n_both, found.n_possible) == (4, 5, 2, SPACE.n_edges)
    assert (found.precision, found.recall) == (0.5, 0.4)
    assert found.f1 == pytest.approx(2 * 0.5 * 0.4 / 0.9)
    assert found.auc is None
    assert json.loads(json.dumps(found.to_dict()))["f1"] == found.f1


def test_nodes():
    nodes = [Component(0, 1), Component(1)]
    scores = torch.tensor([0.0, 3.0, 0.0, 0.0, 2.0, 1.0])  # L0H0 L0H1 L1H0 L1H1 MLP0 MLP1
    found = compare_with_reference(
        SPACE, SPACE.of_nodes([Component(0, 1), Component(0)]), SPACE.of_nodes(nodes), kind="nodes", scores=scores
    )
    assert (found.precision, found.recall, found.f1, found.n_possible) == (0.5, 0.5, 0.5, 6)
    assert found.auc == pytest.approx(7 / 8)  # of 2 x 4 pairs only MLP1 < MLP0 is wrong


def test_auc_is_the_share_of_pairs_in_order():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(-4, 5, SPACE.possible.shape, generator=generator).float()
    scores[~SPACE.possible] = 100  # what the model does not have does not count
    reference = SPACE.possible & (torch.rand(scores.shape, generator=generator) < 0.3)
    found = compare_with_reference(SPACE, reference, reference, scores=scores)
    inside, outside = scores[reference], scores[SPACE.possible & ~reference]
    pairs = inside[:, None] - outside[None]
    assert found.auc == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean().item())
    assert (found.precision, found.recall, found.f1) == (1, 1, 1)


def test_perfect_and_opposite_scores():
    reference = edges(1, 5, 7)
    assert compare_with_reference(SPACE, reference, reference, scores=reference.float()).auc == 1
    assert compare_with_reference(SPACE, reference, reference, scores=-reference.float()).auc == 0
    assert compare_with_reference(SPACE, reference, reference, scores=torch.ones(SPACE.possible.shape)).auc == 0.5


def test_what_is_not_defined_is_none():
    none = edges()
    found = compare_with_reference(SPACE, none, none, scores=torch.zeros(SPACE.possible.shape))
    assert (found.precision, found.recall, found.f1, found.auc) == (None, None, None, None)
    assert compare_with_reference(SPACE, none, edges(1)).to_dict()["f1"] == 0
    assert compare_with_reference(SPACE, edges(1), none).recall is None


def test_refusals():
    with pytest.raises(OptionError, match="edges that the model does not have"):
        compare_with_reference(SPACE, torch.ones_like(SPACE.possible), edges(1))
    with pytest.raises(OptionError, match=r"Scores of shape \(6,\) do not fit the edges"):
        compare_with_reference(SPACE, edges(1), edges(1), scores=torch.ones(6))
    with pytest.raises(OptionError, match="not finite"):
        compare_with_reference(SPACE, edges(1), edges(1), scores=torch.full(SPACE.possible.shape, float("nan")))
    with pytest.raises(OptionError, match="not what a set of nodes"):
        compare_with_reference(SPACE, edges(1), edges(1), kind="nodes")
