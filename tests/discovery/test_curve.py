"""CPR and CMD against hand-worked areas, plain runs of the runner, and laws."""

import itertools
import json

import numpy as np
import pytest
import torch
from answerable import answerable_batch

from circuitkit.core.component import Component
from circuitkit.core.edge import EMBED, LOGITS, Edge, EdgeSpace, Receiver, Sender
from circuitkit.core.errors import OptionError
from circuitkit.discovery.circuit_parts import PartSpace
from circuitkit.discovery.circuit_runs import CircuitRuns
from circuitkit.discovery.curve import SIZES, Curve, area, curve, highest
from circuitkit.discovery.resampled import Bootstrap
from circuitkit.discovery.select import without_dead_ends
from circuitkit.interventions.circuit_runner import CircuitRunner


@pytest.fixture
def runner(tiny_model) -> CircuitRunner:
    return CircuitRunner(tiny_model, answerable_batch(tiny_model, [[7, 7, 9], [6, 6]]))


def random_scores(space: EdgeSpace, seed: int = 0) -> torch.Tensor:
    return torch.randn(space.possible.shape, generator=torch.Generator().manual_seed(seed))


def by_hand(by_value: list[float], by_magnitude: list[float] | None = None, n_draws: int = 0, **changes) -> Curve:
    """Two prompts whose logit differences have the means given; the model has 4 and corruption 0."""
    apart = torch.tensor([-0.5, 0.5])
    value = torch.tensor(by_value)[:, None] + apart
    return Curve(
        **{
            "kind": "edges",
            "sizes": (0.2, 0.5, 1.0),
            "n_parts": (2, 5, 10),
            "model": torch.tensor([3.5, 4.5]),
            "corrupted": torch.tensor([-0.5, 0.5]),
            "by_value": value,
            "by_magnitude": value if by_magnitude is None else torch.tensor(by_magnitude)[:, None] + apart,
            "random": torch.zeros(0, 3, 2),
            "bootstrap": Bootstrap(n_draws=n_draws),
            **changes,
        }
    )


def test_areas_worked_by_hand():
    found = by_hand([2.0, 6.0, 4.0], [1.0, 3.0, 4.0]).to_dict()
    assert found["faithfulness"] == pytest.approx([0.5, 1.5, 1.0])
    assert found["faithfulness_by_magnitude"] == pytest.approx([0.25, 0.75, 1.0])
    assert found["cpr"] == pytest.approx(0.3 * 1.0 + 0.5 * 1.25)
    assert found["cmd"] == pytest.approx(0.3 * (0.75 + 0.25) / 2 + 0.5 * (0.25 + 0) / 2)
    assert found["random"] is None
    assert found["ci95"] == {"faithfulness": None, "cpr": None, "cmd": None}


def test_above_1_counts_for_cpr_and_against_cmd():
    found = by_hand([6.0, 6.0, 4.0]).to_dict()
    assert found["cpr"] == pytest.approx(0.3 * 1.5 + 0.5 * 1.25)
    assert found["cmd"] == pytest.approx(0.3 * 0.5 + 0.5 * 0.25)


def test_intervals_resample_all_together():
    found = by_hand([2.0, 6.0, 4.0], n_draws=300).to_dict()["ci95"]
    assert found["cpr"] == pytest.approx([0.925, 0.925])  # the prompts differ by the same everywhere
    assert found["faithfulness"][1] == pytest.approx([1.5, 1.5])
    uneven = by_hand([2.0, 6.0, 4.0], n_draws=300, corrupted=torch.zeros(2))
    drawn = torch.randint(2, (300, 2), generator=torch.Generator().manual_seed(0)).numpy()
    model, values = (x.double().numpy()[..., drawn].mean(-1) for x in (uneven.model, uneven.by_value))
    areas = np.trapezoid(values / model, [0.2, 0.5, 1.0], axis=0)
    assert uneven.to_dict()["ci95"]["cpr"] == pytest.approx(np.quantile(areas, [0.025, 0.975]).tolist())


def test_undefined_where_corruption_changes_nothing():
    record = by_hand([2.0, 6.0, 4.0], n_draws=10, corrupted=torch.tensor([4.5, 3.5])).to_dict()
    for name in ("faithfulness", "faithfulness_by_magnitude", "cpr", "cmd"):
        assert record[name] is None
    assert set(record["ci95"].values()) == {None}


def test_perfect_circuits_of_all_sizes():
    """MIB's sizes start at .001, which is what is missing to 1."""
    assert area(SIZES, torch.ones(10)).item() == pytest.approx(0.999)
    assert area(SIZES, torch.zeros(10)).item() == 0
    assert area(SIZES, torch.tensor(SIZES)).item() == pytest.approx((1 - 1e-6) / 2)  # the integral of k


def test_highest_scores():
    scores = torch.tensor([0.5, -3.0, 2.0, 0.5, 1.0])
    found = highest(scores, (0.1, 0.2, 0.4, 0.6, 0.8, 1.0))
    chosen = [row.nonzero().squeeze(1).tolist() for row in found]
    assert chosen == [[], [2], [2, 4], [0, 2, 4], [0, 2, 3, 4], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize("kind", ["nodes", "edges"])
def test_every_size_equals_a_plain_run(runner, kind):
    space = runner.space
    parts = PartSpace(space=space, kind=kind)
    scores = random_scores(space) if kind == "edges" else random_scores(space)[0, : len(parts)]
    sizes = (0.05, 0.3, 0.7, 1.0)
    found = curve(runner, scores, kind=kind, sizes=sizes, bootstrap=20)
    values = scores[space.possible] if kind == "edges" else scores
    for order, measured in ((values, found.by_value), (values.abs(), found.by_magnitude)):
        ranked = sorted(range(len(order)), key=lambda i, order=order: -order[i].item())
        for size, n, value in zip(sizes, found.n_parts, measured, strict=True):
            assert n == int(size * len(order))
            if kind == "nodes":
                kept = space.of_nodes(runner.model.components[i] for i in ranked[:n])
            else:
                edges = space.edges()
                kept = without_dead_ends(space, space.mask(edges[i] for i in ranked[:n]))
            torch.testing.assert_close(value, runner.run(kept[None])["logit_diff"][0], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.by_value[-1], found.model, atol=1e-4, rtol=0)
    record = found.to_dict()
    assert record["faithfulness"][-1] == pytest.approx(1, abs=1e-4)
    json.dumps(record, allow_nan=False)


def test_random_orders_and_what_it_costs(tiny_models):
    model, told = tiny_models["gpt2"], []
    runner = CircuitRunner(model, answerable_batch(model, [[7, 7]]))
    runs = CircuitRuns(runner=runner, progress=lambda *now: told.append(now))
    found = curve(runs, random_scores(runner.space).abs(), sizes=(0.1, 0.5, 1.0), n_random=2, bootstrap=0)
    assert found.random.shape == (2, 3, 2)
    assert runs.n_run <= 1 + 2 + 4 + 1  # nothing, two sizes in three orders, all; both orders by score are one
    assert told[0] == ("curve", 0, 13) and told[-1] == ("curve", 13, 13)
    same = curve(runs, random_scores(runner.space).abs(), sizes=(0.1, 0.5, 1.0), n_random=2, bootstrap=0)
    assert torch.equal(same.random, found.random)
    assert len(found.to_dict()["random"]["cpr"]) == 2


def test_edges_on_no_path_are_dropped():
    space = EdgeSpace(2, 2)
    head, mlp, late = Component(0, 1), Component(0), Component(1, 0)
    through = [Edge(EMBED, Receiver(head, "v")), Edge(Sender(head), Receiver(mlp)), Edge(Sender(mlp), LOGITS)]
    nowhere = [Edge(EMBED, Receiver(late, "q")), Edge(Sender(mlp), Receiver(late, "k"))]
    from_nothing = [Edge(Sender(Component(0, 0)), LOGITS)]
    kept = space.mask([*through, *nowhere, *from_nothing])
    assert space.edges(without_dead_ends(space, kept)) == space.edges(space.mask(through))
    assert torch.equal(without_dead_ends(space, space.possible), space.possible)
    assert not without_dead_ends(space, space.mask(nowhere)).any()


def test_paths_by_brute_force():
    """Every path of a small model, one by one."""
    space = EdgeSpace(2, 2)
    generator = torch.Generator().manual_seed(1)
    nodes = [sender.component for sender in space.senders[1:]]
    for _ in range(20):
        kept = space.possible & (torch.rand(space.possible.shape, generator=generator) < 0.25)
        out_of: dict[object, list[Edge]] = {}
        for edge in space.edges(kept):
            out_of.setdefault(edge.sender.component, []).append(edge)
        found: set[Edge] = set()
        for length in range(len(nodes) + 1):
            for stops in itertools.combinations(nodes, length):  # nodes are in the order of computation
                steps = [
                    [
                        edge
                        for edge in out_of.get(a, [])
                        if (edge.receiver.component, edge.receiver == LOGITS) == (b, b is None)
                    ]
                    for a, b in itertools.pairwise([None, *stops, None])
                ]
                if all(steps):
                    found.update(itertools.chain.from_iterable(steps))
        assert set(space.edges(without_dead_ends(space, kept))) == found


def test_dropping_them_changes_nothing_under_resampling(tiny_model):
    """There a node that reads corrupted values only writes its corrupted value."""
    runner = CircuitRunner(tiny_model, answerable_batch(tiny_model, [[6, 6]]), source="resample")
    kept = runner.space.possible & (
        torch.rand(runner.space.possible.shape, generator=torch.Generator().manual_seed(3)) < 0.1
    )
    pruned = without_dead_ends(runner.space, kept)
    assert int(pruned.sum()) < int(kept.sum())
    both = runner.run(torch.stack([kept, pruned]))["logit_diff"]
    torch.testing.assert_close(both[0], both[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("sizes", [(), (0.5,), (0.5, 0.2), (0.0, 0.5), (0.5, 1.5), (0.5, 0.5)])
def test_sizes_out_of_range(tiny_models, sizes):
    model = tiny_models["gpt2"]
    runner = CircuitRunner(model, answerable_batch(model, [[5, 5]]))
    with pytest.raises(OptionError, match="two or more ascending shares above 0"):
        curve(runner, random_scores(runner.space), sizes=sizes)
    with pytest.raises(OptionError, match="-1 random orders"):
        curve(runner, random_scores(runner.space), n_random=-1)
    with pytest.raises(OptionError, match="do not fit the nodes"):
        curve(runner, random_scores(runner.space), kind="nodes")
