"""The method against the algorithm as it is written down, every circuit in a plain pass of its own."""

from dataclasses import fields

import pytest
import torch
from brute_force import token_batch
from circuit_cases import Killed, killed_after, solvable_batch, toy_case

from circuitkit.core.component import Component
from circuitkit.core.edge import EdgeSpace
from circuitkit.core.errors import OptionError
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.path_patching import path_patching
from circuitkit.discovery.prune import prune
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.edge_forward import EdgeForward
from circuitkit.interventions.replacement import replacement
from circuitkit.interventions.rows import take


def _plain_value(model, batch):
    """Mean logit difference of one set of edges at a time."""
    rows = torch.arange(len(batch.pairs))
    taken = take(batch.clean, rows, model)
    values = replacement(model, batch, Ablation.CORRUPTED_MEAN)(rows, taken.ids.shape[1])
    forward, answers = EdgeForward(model, taken, values), torch.stack([batch.correct_ids, batch.incorrect_ids], 1)

    def value(kept):
        logits = forward.run(kept[None], answers)[0].double()
        return (logits[:, 0] - logits[:, 1]).mean().item()

    return value


def _reaches(space, edges, edge):
    """Whether an edge lies on a path to the logits, step by step."""
    if edge.receiver.component is None:
        return True
    return any(_reaches(space, edges, e) for e in edges if e.sender.component == edge.receiver.component)


def _plain(model, batch, nodes, threshold):
    space, value = EdgeSpace(model.info.n_layers, model.info.n_heads), _plain_value(model, batch)
    full = value(space.possible)
    kept = space.between(nodes)
    effects = {edge: full - value(space.possible & ~space.mask([edge])) for edge in space.edges(kept)}
    start = value(kept)
    floor = (1 - threshold) * (full if start >= (1 - threshold) * full else start)
    for edge in sorted(effects, key=lambda e: abs(effects[e])):
        without = kept & ~space.mask([edge])
        if value(without) >= floor:
            kept = without
    edges = space.edges(kept)
    return [e for e in edges if _reaches(space, edges, e)], effects, start, value(kept)


def _check(found, expected, space):
    edges, effects, start, value = expected
    assert space.edges(found.kept) == edges
    assert found.start_value == pytest.approx(start, abs=1e-3)
    assert found.value == pytest.approx(value, abs=1e-3)
    assert space.edges(found.measured) == list(effects)
    torch.testing.assert_close(found.effects[found.measured], torch.tensor(list(effects.values())), atol=1e-3, rtol=0)
    assert not bool(found.effects[~found.measured].any())


@pytest.mark.parametrize("threshold", [0.2, 0.6])
def test_is_the_algorithm_as_written_down(tiny_model, threshold):
    batch, last = solvable_batch(tiny_model), tiny_model.info.n_layers - 1
    runner = CircuitRunner(tiny_model, batch)
    nodes = {Component(last, 0), Component(0), Component(0, 1), *prune(runner, threshold=0.4).nodes}
    expected = _plain(tiny_model, batch, nodes, threshold)
    for one_at_a_time in (True, False):
        found = path_patching(runner, nodes=nodes, threshold=threshold, one_at_a_time=one_at_a_time)
        _check(found, expected, runner.space)
        assert found.pruned is None
        assert set(found.nodes) == nodes
        assert bool(found.warnings) == (found.start_value < (1 - threshold) * found.model_value)
        assert found.value >= found.floor


def test_a_trained_model():
    model, batch = toy_case("toy-gpt2", 4)
    runner = CircuitRunner(model, batch)
    nodes = prune(runner).nodes
    many, one = path_patching(runner), path_patching(runner, one_at_a_time=True)
    _check(one, _plain(model, batch, nodes, 0.2), runner.space)
    assert torch.equal(many.kept, one.kept)
    assert one.nodes == nodes
    assert not one.warnings
    assert one.value >= one.floor == pytest.approx(0.8 * one.model_value)
    n_measured = int(one.measured.sum())
    assert one.pruned is not None
    assert one.evaluations == one.pruned.evaluations + 2 * n_measured + 1
    assert int(one.kept.sum()) < n_measured == runner.space.between(nodes).sum()


def test_all_nodes_give_all_edges(tiny_models):
    model = tiny_models["distilbert"]
    runner = CircuitRunner(model, solvable_batch(model))
    found = path_patching(runner, nodes="all", threshold=0.5)
    assert torch.equal(found.measured, runner.space.possible)
    assert found.start_value == pytest.approx(found.model_value)
    assert int(found.kept.sum()) < runner.space.n_edges
    assert runner.run(found.kept[None])["logit_diff"].mean().item() == pytest.approx(found.value, abs=1e-5)


@pytest.mark.parametrize("one_at_a_time", [True, False])
def test_goes_on_after_an_interruption(tiny_models, tmp_path, one_at_a_time):
    model = tiny_models["llama"]
    runner, reports = CircuitRunner(model, solvable_batch(model)), []
    options = {"node_threshold": 0.5, "threshold": 0.5, "one_at_a_time": one_at_a_time}
    whole = path_patching(runner, progress=lambda *report: reports.append(report), **options)
    for at in (len(reports) // 2, len(reports)):
        store = ShardStore(tmp_path, f"{at}")
        with pytest.raises(Killed):
            path_patching(runner, store=store, progress=killed_after(at), **options)
        again = path_patching(runner, store=store, **options)
        for field in fields(whole):
            one, other = getattr(again, field.name), getattr(whole, field.name)
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    stages = list(dict.fromkeys(stage for stage, _, _ in reports))
    assert stages == ["path patching: nodes", "path patching: effects", "path patching: edges"]
    for stage in stages:
        assert [r[1:] for r in reports if r[0] == stage][-1][0] == [r[2] for r in reports if r[0] == stage][-1]


def test_what_cannot_be_done_is_refused(tiny_models):
    model = tiny_models["gpt2"]
    runner = CircuitRunner(model, solvable_batch(model))
    with pytest.raises(OptionError, match="Node L7H0 is not in a model of 3 layers"):
        path_patching(runner, nodes=[Component(7, 0)])
    with pytest.raises(OptionError, match="Edge threshold 1 is not a share"):
        path_patching(runner, nodes="all", threshold=1.0)
    undecided = CircuitRunner(model, token_batch(model.info.vocab_size, [[6] * 8], seed=3))
    with pytest.raises(OptionError, match="not clearly above 0"):
        path_patching(undecided, nodes="all")


def test_nodes_that_keep_too_little():
    """The floor follows what there is to begin with."""
    model, batch = toy_case("toy-gpt2", 8)
    runner = CircuitRunner(model, batch)
    full = runner.clean["logit_diff"].mean().item()
    for node in (Component(0, 0), Component(0), Component(3, 1)):
        start = runner.run(runner.space.between([node])[None])["logit_diff"].mean().item()
        assert start < 0.8 * full
        found = path_patching(runner, nodes=[node])
        assert found.floor == pytest.approx(0.8 * start)
        assert found.value >= found.floor
        assert found.warnings == (
            f"The edges between the nodes have a mean logit difference of {start:.2f}, below the {0.8 * full:.2f} "
            f"that a circuit should keep; edges were removed while {0.8 * start:.2f} was kept, 80% of what they "
            "have.",
        )


def test_nodes_that_keep_nothing(tiny_models):
    model = tiny_models["llama"]
    runner = CircuitRunner(model, solvable_batch(model))
    nodes = [Component(2), Component(0, 1), Component(2, 0), Component(0), Component(2, 2)]
    assert runner.run(runner.space.between(nodes)[None])["logit_diff"].mean() < 0
    with pytest.raises(OptionError, match="of which nothing can be kept"):
        path_patching(runner, nodes=nodes)
