"""Faithfulness and completeness against hand-worked numbers, plain runs of the runner, and ablation by hand."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from answerable import answerable_batch
from brute_force import intervened_logits, replacement_value, token_batch

from circuitkit.core.component import Component
from circuitkit.core.edge import EMBED, Edge, EdgeSpace, Receiver, Sender
from circuitkit.core.errors import OptionError
from circuitkit.discovery.circuit_parts import PartSpace
from circuitkit.discovery.circuit_runs import CircuitRuns
from circuitkit.discovery.completeness import Completeness, completeness
from circuitkit.discovery.faithfulness import Faithfulness, faithfulness
from circuitkit.discovery.resampled import Bootstrap
from circuitkit.interventions.circuit_runner import CircuitRunner

NODES = [Component(0, 1), Component(1, 2), Component(0), Component(1)]
METRICS = ("logit_diff", "kl", "top1")


@pytest.fixture(scope="module")
def runners(tiny_models):
    return {
        family: CircuitRunner(model, answerable_batch(model, [[7, 7, 9], [6, 6]]), metrics=METRICS)
        for family, model in tiny_models.items()
    }


@pytest.fixture(params=["gpt2", "bert", "distilbert", "llama"])
def runner(request, runners) -> CircuitRunner:
    return runners[request.param]


def some_edges(space: EdgeSpace, seed: int = 0) -> torch.Tensor:
    return space.possible & (torch.rand(space.possible.shape, generator=torch.Generator().manual_seed(seed)) < 0.5)


def by_hand(n_draws: int = 0, **changes) -> Faithfulness:
    values = {
        "model": [4.0, 6.0, 5.0, 5.0],  # mean 5
        "corrupted": [1.0, 0.0, 0.5, 0.5],  # .5
        "circuit": [3.0, 5.0, -1.0, 1.0],  # 2
        "complement": [2.0, 1.0, 2.0, 0.6],  # 1.4
        "kl": [0.5, 0.25, 0.25, 1.0],
        "model_top1": [1.0, 1.0, 1.0, 0.0],
        "circuit_top1": [1.0, 0.0, 0.0, 0.0],
    } | changes
    return Faithfulness(
        kind="edges",
        nodes=(3, 12),
        edges=(10, 40),
        bootstrap=Bootstrap(n_draws=n_draws, seed=3),
        **{name: None if v is None else torch.tensor(v) for name, v in values.items()},
    )


def test_figures_worked_by_hand():
    found = by_hand().to_dict()
    assert found["model_logit_diff"] == 5
    assert found["corrupted_logit_diff"] == 0.5
    assert found["circuit_logit_diff"] == 2
    assert found["complement_logit_diff"] == pytest.approx(1.4)
    assert found["faithfulness"] == pytest.approx(1.5 / 4.5) == by_hand().value
    assert found["complement_share"] == pytest.approx(0.9 / 4.5)
    assert found["logit_diff_share"] == pytest.approx(2 / 5)
    assert found["kl"] == {"mean": 0.5, "ci95": None}
    accuracy = found["accuracy"]
    assert (accuracy["model"], accuracy["circuit"]) == (1, 0.75)
    assert (accuracy["model_top1"], accuracy["circuit_top1"]) == (0.75, 0.25)
    assert found["sparsity"] == {"nodes": 0.25, "edges": 0.25, "n_nodes": 3, "n_edges": 10}


def test_no_draws_no_intervals():
    found = by_hand().to_dict()
    assert set(found["ci95"].values()) == {None}
    assert set(found["accuracy"]["ci95"].values()) == {None}


def test_intervals_resample_numerator_and_denominator_together():
    found = by_hand(n_draws=500)
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(4, (500, 4), generator=generator).numpy()
    model, corrupted, circuit = (
        x.double().numpy()[drawn].mean(1) for x in (found.model, found.corrupted, found.circuit)
    )
    expected = np.quantile((circuit - corrupted) / (model - corrupted), [0.025, 0.975])
    intervals = found.to_dict()["ci95"]
    assert intervals["faithfulness"] == pytest.approx(expected.tolist())
    assert intervals["circuit_logit_diff"] == pytest.approx(np.quantile(circuit, [0.025, 0.975]).tolist())
    assert intervals["logit_diff_share"] == pytest.approx(np.quantile(circuit / model, [0.025, 0.975]).tolist())
    assert found.to_dict() == by_hand(n_draws=500).to_dict()


def test_undefined_where_corruption_changes_nothing_for_certain():
    found = by_hand(n_draws=50, corrupted=[8.0, 2.0, 5.0, 4.0])  # differences -4, 4, 0, 1
    record = found.to_dict()
    assert record["faithfulness"] is None and record["ci95"]["faithfulness"] is None
    assert record["complement_share"] is None and record["logit_diff_share"] == pytest.approx(0.4)
    assert "model (5.00) is not clearly different from that with everything replaced (4.75)" in found.warnings[0]
    assert len(found.warnings) == 1 and by_hand().warnings == ()
    assert "not clearly different from 0" in by_hand(model=[1.0, -1.0, 1.0, -1.0]).warnings[-1]


def test_one_prompt_has_no_faithfulness_and_unmeasured_metrics_are_null():
    one = replace(
        by_hand(kl=None, circuit_top1=None, model_top1=None),
        **{name: torch.tensor([2.0]) for name in ("model", "circuit", "complement")},
        corrupted=torch.tensor([0.0]),
    )
    record = one.to_dict()
    assert record["faithfulness"] is None and record["kl"] is None and record["accuracy"]["model_top1"] is None
    json.dumps(record, allow_nan=False)


def test_faithfulness_below_0_and_of_a_model_worse_than_its_corruption():
    assert by_hand(circuit=[0.0] * 4).value == pytest.approx(-0.5 / 4.5)
    worse = by_hand(corrupted=[10.0, 9.0, 10.0, 11.0])  # (2 - 10) / (5 - 10)
    assert worse.value == pytest.approx(8 / 5)


def test_full_circuit_is_the_model(runner):
    found = faithfulness(runner, runner.space.possible, bootstrap=20)
    record = found.to_dict()
    assert found.kl.abs().max() < 1e-5
    torch.testing.assert_close(found.circuit, found.model, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.complement, found.corrupted, atol=1e-4, rtol=0)
    assert record["faithfulness"] == pytest.approx(1, abs=1e-4)
    assert record["complement_share"] == pytest.approx(0, abs=1e-4)
    low, high = record["ci95"]["faithfulness"]
    assert low == pytest.approx(1, abs=1e-4) and high == pytest.approx(1, abs=1e-4)
    assert record["sparsity"]["nodes"] == record["sparsity"]["edges"] == 1
    json.dumps(record, allow_nan=False)


def test_empty_circuit_is_the_corrupted_model(runner):
    found = faithfulness(runner, torch.zeros_like(runner.space.possible), bootstrap=0)
    assert torch.equal(found.circuit, found.corrupted)
    torch.testing.assert_close(found.complement, found.model, atol=1e-4, rtol=0)
    assert found.value == 0
    assert found.to_dict()["sparsity"] == {"nodes": 0, "edges": 0, "n_nodes": 0, "n_edges": 0}


def test_edges_are_run_as_they_are(runner):
    kept = some_edges(runner.space)
    found = faithfulness(runner, kept, bootstrap=0)
    plain = runner.run(torch.stack([kept, runner.space.possible & ~kept, torch.zeros_like(kept)]))
    for value, row in ((found.circuit, 0), (found.complement, 1), (found.corrupted, 2)):
        torch.testing.assert_close(value, plain["logit_diff"][row], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.kl, plain["kl"][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.circuit_top1, plain["top1"][0])
    torch.testing.assert_close(found.model_top1, runner.clean["top1"])


def test_nodes_equal_ablation_by_hand_on_the_raw_model(runner):
    """The circuit ablates the other nodes; its complement ablates the circuit's and keeps the embedding."""
    model, batch = runner.model, runner.batch
    raw, family = copy.deepcopy(model.raw), model.info.family
    found = faithfulness(runner, runner.space.of_nodes(NODES), kind="nodes", bootstrap=0)
    others = [c for c in model.components if c not in NODES]
    for value, ablated in ((found.circuit, others), (found.complement, NODES)):
        edits = {c: (replacement_value(raw, family, c, batch, "corrupted-mean"), None) for c in ablated}
        logits = intervened_logits(raw, family, edits, batch.clean)
        row = torch.arange(len(logits))
        expected = logits[row, batch.correct_ids] - logits[row, batch.incorrect_ids]
        torch.testing.assert_close(value, expected, atol=1e-4, rtol=0)
        if value is found.circuit:
            clean = intervened_logits(raw, family, {}, batch.clean).log_softmax(-1)
            kl = (clean.exp() * (clean - logits.log_softmax(-1))).sum(-1)
            torch.testing.assert_close(found.kl, kl, atol=1e-4, rtol=1e-3)
    assert found.nodes == (4, len(model.components))
    assert found.edges == (int(runner.space.of_nodes(NODES).sum()), runner.space.n_edges)


def test_nodes_of_an_edge_circuit_have_a_way_in_and_a_way_out():
    space = EdgeSpace(2, 2)
    head, mlp = Component(0, 1), Component(1)
    kept = space.mask(
        [
            Edge(EMBED, Receiver(head, "k")),
            Edge(Sender(head), Receiver(mlp)),
            Edge(Sender(Component(0)), Receiver()),  # nothing goes into MLP0
        ]
    )
    parts = PartSpace(space=space, kind="edges")
    assert parts.components_in(kept) == (head,)
    assert parts.names[:3] == ("embed->L0H0.q", "embed->L0H0.k", "embed->L0H0.v")
    assert torch.equal(parts.mask(parts.parts(kept)), kept)


def test_nodes_as_parts():
    space = EdgeSpace(2, 2)
    parts = PartSpace(space=space, kind="nodes")
    assert parts.names == ("L0H0", "L0H1", "L1H0", "L1H1", "MLP0", "MLP1")
    for nodes in ([], [Component(1, 0)], [Component(0), Component(1, 1), Component(1)], parts.components):
        kept = space.of_nodes(nodes)
        assert set(parts.components_in(kept)) == set(nodes)
        assert torch.equal(parts.mask(parts.parts(kept)), kept)


def test_what_is_no_circuit_is_refused(runners):
    runner = runners["gpt2"]
    space = runner.space
    with pytest.raises(OptionError, match="not what a set of nodes and the embedding write"):
        faithfulness(runner, some_edges(space), kind="nodes")
    with pytest.raises(OptionError, match=r"shape \(3, 3\) does not fit"):
        faithfulness(runner, torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(OptionError, match="edges that the model does not have"):
        faithfulness(runner, torch.ones_like(space.possible))
    with pytest.raises(OptionError, match="'neurons' unknown; choose one of nodes, edges"):
        faithfulness(runner, space.possible, kind="neurons")
    with pytest.raises(OptionError, match="-1 bootstrap draws"):
        faithfulness(runner, space.possible, bootstrap=-1)
    with pytest.raises(OptionError, match="0 subsets"):
        completeness(runner, space.possible, n_subsets=0)


def test_a_runner_without_logit_differences_is_refused(tiny_models):
    model = tiny_models["gpt2"]
    runner = CircuitRunner(model, token_batch(model.info.vocab_size, [[5, 5]]), metrics=("kl",))
    with pytest.raises(OptionError, match="the runner measures kl"):
        faithfulness(runner, runner.space.possible)


def test_circuits_are_run_once_and_progress_is_told(runners):
    runner, told = runners["gpt2"], []
    runs = CircuitRuns(runner=runner, progress=lambda *now: told.append(now))
    first = faithfulness(runs, some_edges(runner.space), bootstrap=0)
    assert (told, runs.n_run) == ([("faithfulness", n, 3) for n in range(4)], 3)  # edges: each set by itself
    again = faithfulness(runs, some_edges(runner.space), bootstrap=0)
    assert runs.n_run == 3
    assert torch.equal(first.circuit, again.circuit)
    told.clear()
    sets = torch.rand(40, runs.space.n_edges) < 0.5
    values = runs.logit_diffs(PartSpace(space=runs.space, kind="edges"), sets, stage="x")
    assert told == [("x", 0, 40), ("x", 16, 40), ("x", 32, 40), ("x", 40, 40)]
    plain = runner.run(PartSpace(space=runs.space, kind="edges").mask(sets))["logit_diff"]
    torch.testing.assert_close(values, plain, atol=1e-4, rtol=0)


def test_sets_of_nodes_are_run_together(runners):
    runner, told = runners["gpt2"], []
    runs = CircuitRuns(runner=runner, progress=lambda *now: told.append(now))
    faithfulness(runs, runner.space.of_nodes(runner.model.components[:2]), kind="nodes", bootstrap=0)
    assert told == [("faithfulness", 0, 3), ("faithfulness", 3, 3)]


def test_completeness_worked_by_hand():
    found = Completeness(
        removed=(1, 2),
        circuit=torch.tensor([[1.0, 3.0], [0.0, 1.0]]),  # means 2, .5
        model=torch.tensor([[2.0, 4.0], [-2.0, 2.0]]),  # 3, 0
        bootstrap=Bootstrap(n_draws=0),
    ).to_dict()
    assert found["differences"] == [1, 0.5]
    assert (found["mean_difference"], found["max_difference"], found["n_subsets"]) == (0.75, 1, 2)
    assert found["ci95"] == {"mean_difference": None, "max_difference": None}


@pytest.mark.parametrize("kind", ["nodes", "edges"])
def test_completeness_runs_what_it_says(runners, kind):
    runner = runners["bert"]
    space = runner.space
    kept = space.of_nodes(NODES) if kind == "nodes" else some_edges(space)
    found = completeness(runner, kept, kind=kind, n_subsets=3, bootstrap=100, seed=5)
    coins = torch.randint(2, (3, len(PartSpace(space=space, kind=kind))), generator=torch.Generator().manual_seed(5))
    for i, coin in enumerate(coins.bool()):
        if kind == "nodes":
            removed = [c for c, out in zip(runner.model.components, coin.tolist(), strict=True) if out and c in NODES]
            from_circuit = space.of_nodes(c for c in NODES if c not in removed)
            from_model = space.of_nodes(c for c in runner.model.components if c not in removed)
        else:
            gone = torch.zeros_like(kept)
            gone[space.possible] = coin
            removed = space.edges(gone & kept)
            from_circuit, from_model = kept & ~gone, space.possible & ~(gone & kept)
        expected = runner.run(torch.stack([from_circuit, from_model]))["logit_diff"]
        torch.testing.assert_close(found.circuit[i], expected[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(found.model[i], expected[1], atol=1e-4, rtol=0)
        assert found.removed[i] == len(removed)
    record = found.to_dict()
    expected = (found.circuit.double().mean(1) - found.model.double().mean(1)).abs()
    assert record["mean_difference"] == pytest.approx(expected.mean().item())
    assert record["max_difference"] == pytest.approx(expected.max().item())
    low, high = record["ci95"]["max_difference"]
    assert low < high
    json.dumps(record, allow_nan=False)


def test_the_whole_model_is_complete(runner):
    found = completeness(runner, runner.space.possible, n_subsets=2, bootstrap=0).to_dict()
    assert found["max_difference"] == 0
