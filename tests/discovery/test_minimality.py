"""Minimality against hand-worked numbers, plain runs of the runner, and the sweep of single nodes."""

import json

import pytest
import torch
from answerable import answerable_batch

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.discovery.minimality import Minimality, minimality
from circuitkit.discovery.resampled import Bootstrap
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.sweep import sweep

NODES = [Component(0, 1), Component(1, 2), Component(0), Component(1)]


@pytest.fixture
def runner(tiny_model) -> CircuitRunner:
    return CircuitRunner(tiny_model, answerable_batch(tiny_model, [[7, 7, 9], [6, 6]]))


def test_worked_by_hand():
    found = Minimality(
        kind="nodes",
        names=("L0H0", "MLP0", "MLP1"),
        n_parts=3,
        losses=torch.tensor([[1.0, 3.0], [-1.0, 0.0], [0.0, 0.0]]),
        drops=torch.tensor([[0.5, 0.5], [1.0, 2.0], [0.0, 1.0]]),
        bootstrap=Bootstrap(n_draws=0),
    ).to_dict()
    assert [row["loss"] for row in found["parts"].values()] == [2, -0.5, 0]
    assert [row["drop"] for row in found["parts"].values()] == [0.5, 1.5, 0.5]
    assert (found["mean_loss"], found["least_loss"], found["least_needed"]) == (0.5, -0.5, "MLP0")
    assert (found["n_not_needed"], found["n_parts"], found["n_measured"]) == (2, 3, 3)
    assert all(row["loss_ci95"] is None and row["drop_ci95"] is None for row in found["parts"].values())


def test_intervals():
    losses = torch.tensor([[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0]])
    found = Minimality(
        kind="edges", names=("a", "b"), n_parts=2, losses=losses, drops=None, bootstrap=Bootstrap(n_draws=400, seed=1)
    ).to_dict()["parts"]
    drawn = torch.randint(4, (400, 4), generator=torch.Generator().manual_seed(1))
    expected = losses[0].double()[drawn].mean(1).quantile(torch.tensor([0.025, 0.975]).double())
    assert found["a"]["loss_ci95"] == pytest.approx(expected.tolist())
    assert found["b"]["loss_ci95"] == pytest.approx([5, 5])
    assert found["a"]["drop"] is None and found["a"]["drop_ci95"] is None


def test_nodes_removed_from_the_circuit_and_from_the_model(runner):
    space, model = runner.space, runner.model
    found = minimality(runner, space.of_nodes(NODES), kind="nodes", bootstrap=10)
    assert set(found.names) == {str(c) for c in NODES}
    whole = runner.run(space.of_nodes(NODES)[None])["logit_diff"][0]
    alone = sweep(model, runner.batch)
    assert found.drops is not None
    for i, name in enumerate(found.names):
        node = Component.parse(name)
        rest = runner.run(space.of_nodes(c for c in NODES if c != node)[None])["logit_diff"][0]
        torch.testing.assert_close(found.losses[i], whole - rest, atol=1e-4, rtol=0)
        drop = alone.clean - alone.ablated[alone.components.index(node)]
        torch.testing.assert_close(found.drops[i], drop, atol=1e-4, rtol=0)
    assert found.warnings == ()
    json.dumps(found.to_dict(), allow_nan=False)


def test_in_the_full_model_both_readings_are_one(runner):
    found = minimality(runner, runner.space.possible, kind="nodes", bootstrap=0)
    torch.testing.assert_close(found.losses, found.drops, atol=1e-4, rtol=0)
    assert found.names == tuple(str(c) for c in runner.model.components)


def test_edges_up_to_a_cap_that_is_said(runner):
    space = runner.space
    kept = space.possible & (torch.rand(space.possible.shape, generator=torch.Generator().manual_seed(2)) < 0.1)
    found = minimality(runner, kept, most=5, bootstrap=0, seed=4)
    assert found.n_parts == int(kept.sum()) > len(found.names) == 5
    assert found.warnings == (
        f"Minimality was measured for 5 of the circuit's {found.n_parts} edges, drawn at random.",
    )
    assert found.drops is None
    whole = runner.run(kept[None])["logit_diff"][0]
    edges = {str(edge): edge for edge in space.edges(kept)}
    for name, loss in zip(found.names, found.losses, strict=True):
        rest = runner.run((kept & ~space.mask([edges[name]]))[None])["logit_diff"][0]
        torch.testing.assert_close(loss, whole - rest, atol=1e-4, rtol=0)
    assert minimality(runner, kept, most=5, bootstrap=0, seed=4).names == found.names
    assert minimality(runner, kept, most=5, bootstrap=0, seed=5).names != found.names
    assert minimality(runner, kept, most=10**6, bootstrap=0).names == tuple(edges)


def test_a_circuit_of_nothing(runner):
    record = minimality(runner, torch.zeros_like(runner.space.possible), bootstrap=10).to_dict()
    assert record["parts"] == {} and record["n_not_needed"] is None and record["least_needed"] is None
    none = minimality(runner, runner.space.of_nodes([]), kind="nodes", bootstrap=10)
    assert none.to_dict()["parts"] == {}


def test_a_cap_of_0_is_refused(runner):
    with pytest.raises(OptionError, match="at most 0 parts"):
        minimality(runner, runner.space.possible, most=0)
