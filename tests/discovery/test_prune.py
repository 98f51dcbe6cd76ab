"""Pruning against the algorithm as it is written down, with components replaced by hooks on the raw modules."""

from dataclasses import astuple
from functools import cache

import pytest
import torch
from brute_force import intervened_logits, replacement_value, token_batch
from circuit_cases import Killed, killed_after, solvable_batch, toy_case

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.prune import prune
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import replace_components


def _in_order(info):
    return [Component(layer, head) for layer in range(info.n_layers) for head in (*range(info.n_heads), None)]


def _plain(order, value_without, threshold, passes=None):
    """Passes of one backward and one forward sweep until one changes nothing; `value_without` a tuple of nodes."""

    def without(node):
        return value_without(tuple(n for n in order if n not in kept or n == node))

    full = value_without(())
    floor, kept, removed_in, values, number = (1 - threshold) * full, list(order), {}, {}, 0
    while passes is None or number < passes:
        number, before = number + 1, len(kept)
        for sweep in (order[::-1], order):
            for node in sweep:
                if node not in kept:
                    continue
                values[node] = without(node)
                if values[node] >= floor:
                    kept.remove(node)
                    removed_in[node] = number
        if len(kept) == before:
            break
    value = without(None)
    losses = {n: value - without(n) for n in kept}
    return kept, removed_in, values, losses, value


def _by_hooks(model, batch, ablation):
    """Mean logit difference with some components replaced, by hooks on the raw modules, prompt by prompt."""
    family = model.info.family
    replaced = {c: replacement_value(model.raw, family, c, batch, ablation) for c in model.components}

    @cache
    def value(nodes):
        logits = intervened_logits(model.raw, family, {c: (replaced[c], None) for c in nodes}, batch.clean)
        row = torch.arange(len(logits))
        return (logits[row, batch.correct_ids] - logits[row, batch.incorrect_ids]).double().mean().item()

    return value


def _by_engine(model, batch):
    """The same by the engine of exact sweeps, which knows nothing of edges."""

    @cache
    def value(nodes):
        runs = run_interventions(model, batch, [replace_components(*nodes)] if nodes else [], source="corrupted-mean")
        return (runs.changed[0] if nodes else runs.clean).double().mean().item()

    return value


def _check(found, expected, tolerance):
    kept, removed_in, values, losses, value = expected
    assert list(found.nodes) == kept
    assert {t.component: t.removed_in for t in found.tests if t.removed_in} == removed_in
    assert found.value == pytest.approx(value, abs=tolerance)
    for test in found.tests:
        assert test.value == pytest.approx(values[test.component], abs=tolerance)
        if test.loss is not None:
            assert test.loss == pytest.approx(losses[test.component], abs=tolerance)
        assert test.removed_in is None or test.loss is None


@pytest.mark.parametrize(("threshold", "ablation"), [(0.2, "corrupted-mean"), (0.5, "resample"), (0.8, "zero")])
def test_is_the_algorithm_as_written_down(tiny_model, threshold, ablation):
    batch = solvable_batch(tiny_model)
    runner = CircuitRunner(tiny_model, batch, source=ablation)
    value = _by_hooks(tiny_model, batch, ablation)
    order = _in_order(tiny_model.info)
    for passes in (1, None):
        expected = _plain(order, value, threshold, passes)
        many = prune(runner, threshold=threshold, passes=passes, one_at_a_time=False)
        one = prune(runner, threshold=threshold, passes=passes, one_at_a_time=True)
        for found in (many, one):
            _check(found, expected, 1e-4)
            assert found.model_value == pytest.approx(value(()), abs=1e-4)
            assert found.floor == pytest.approx((1 - threshold) * value(()), abs=1e-4)
            assert found.value >= found.floor
        assert one.evaluations <= many.evaluations
        if passes is None:
            assert all((t.loss is None) == (t.removed_in is not None) for t in many.tests)


@pytest.mark.parametrize("name", ["toy-gpt2", "toy-bert"])
def test_trained_models(name):
    model, batch = toy_case(name, 24)
    runner, order = CircuitRunner(model, batch), _in_order(model.info)
    found, one = prune(runner), prune(runner, one_at_a_time=True)
    expected = _plain(order, _by_engine(model, batch), 0.2)
    _check(found, expected, 1e-3)
    _check(one, expected, 1e-3)
    assert 0 < len(found.nodes) < len(order)


def test_hardly_anything_goes_at_a_low_threshold(tiny_model):
    """Next to nothing may be lost: what goes must not have helped."""
    batch = solvable_batch(tiny_model)
    found = prune(CircuitRunner(tiny_model, batch), threshold=1e-6)
    assert found.value >= (1 - 1e-6) * found.model_value
    assert all(test.loss > 0 for test in found.tests if test.loss is not None)


@pytest.mark.parametrize("one_at_a_time", [True, False])
def test_goes_on_after_an_interruption(tiny_model, tmp_path, one_at_a_time):
    batch = solvable_batch(tiny_model)
    runner = CircuitRunner(tiny_model, batch)
    options = {"threshold": 0.4, "one_at_a_time": one_at_a_time}
    reports = []
    whole = prune(runner, progress=lambda *report: reports.append(report), **options)
    run, ran = runner.run, []
    runner.run = lambda kept: ran.append(kept) or run(kept)
    for at in (1, 3, len(reports) // 2, len(reports)):
        store = ShardStore(tmp_path, f"{at}")
        with pytest.raises(Killed):
            prune(runner, store=store, progress=killed_after(at), **options)
        assert astuple(prune(runner, store=store, **options)) == astuple(whole)
        assert sum(map(len, ran)) == whole.evaluations  # both together: nothing is run twice
        ran.clear()
        assert astuple(prune(runner, store=store, **options)) == astuple(whole)
        assert not ran


def test_progress_ends_where_it_said(tiny_model):
    reports = []
    prune(
        CircuitRunner(tiny_model, solvable_batch(tiny_model)),
        threshold=0.4,
        progress=lambda *report: reports.append(report),
    )
    done, totals = [r[1] for r in reports], [r[2] for r in reports]
    assert all(a < b for a, b in zip(done, done[1:], strict=False))
    assert totals == sorted(totals)
    assert done[-1] == totals[-1]
    n_layers, n_heads = tiny_model.info.n_layers, tiny_model.info.n_heads
    assert totals[0] == (n_heads + 1) * n_layers * (n_layers + 1) // 2


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.2, 20.0, float("nan")])
def test_threshold_must_be_a_share(tiny_models, threshold):
    runner = CircuitRunner(tiny_models["gpt2"], solvable_batch(tiny_models["gpt2"]))
    with pytest.raises(OptionError, match="between 0 and 1"):
        prune(runner, threshold=threshold)


def test_what_cannot_be_pruned_is_refused(tiny_models):
    model = tiny_models["gpt2"]
    batch = solvable_batch(model)
    with pytest.raises(OptionError, match="give 1 or more"):
        prune(CircuitRunner(model, batch), passes=0)
    with pytest.raises(OptionError, match="measured was kl"):
        prune(CircuitRunner(model, batch, metrics=["kl"]))
    with pytest.raises(OptionError, match="one prompt has no standard error"):
        prune(CircuitRunner(model, token_batch(model.info.vocab_size, [[6]])))
    undecided = token_batch(model.info.vocab_size, [[6] * 8], seed=3)
    with pytest.raises(OptionError, match="not clearly above 0"):
        prune(CircuitRunner(model, undecided))
