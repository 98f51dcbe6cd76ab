"""Every method finds the circuits that were planted: the eliminating ones exactly, the estimates by their order."""

import functools

import pytest
import torch
from planted import PLANS, planted

from circuitkit.core.edge import EdgeSpace
from circuitkit.discovery.acdc import acdc
from circuitkit.discovery.eap import eap
from circuitkit.discovery.influence import influence
from circuitkit.discovery.path_patch import path_patch
from circuitkit.discovery.path_patching import path_patching
from circuitkit.discovery.prune import prune
from circuitkit.discovery.threshold import influential_nodes
from circuitkit.interventions.circuit_runner import CircuitRunner

FAMILIES = ("gpt2", "llama", "bert", "distilbert")
ABLATIONS = ("corrupted-mean", "resample")
EVERY_CIRCUIT = [
    pytest.mark.parametrize("ablation", ABLATIONS),
    pytest.mark.parametrize("family", FAMILIES),
    pytest.mark.parametrize("name", PLANS),
]
case = functools.cache(planted)


def on_every_circuit(test):
    for mark in EVERY_CIRCUIT:
        test = mark(test)
    return test


def _runner(known, ablation, metrics=("logit_diff",)):
    return CircuitRunner(known.model, known.batch, source=ablation, metrics=metrics)


def _auc(known, scores):
    """How often a planted edge scores higher than another one; equal scores count half."""
    space = EdgeSpace(known.model.info.n_layers, known.model.info.n_heads)
    planted_ones = torch.tensor([edge in known.edges for edge in space.edges()])
    values = scores[space.possible].abs()
    pairs = values[planted_ones, None] - values[None, ~planted_ones]
    return float(((pairs > 0).double() + (pairs == 0).double() / 2).mean())


@on_every_circuit
def test_prune_finds_the_planted_nodes(name, family, ablation):
    known = case(name, family)
    found = prune(_runner(known, ablation))
    assert set(found.nodes) == known.nodes
    assert found.value > 0.95 * found.model_value


@pytest.mark.parametrize(("metric", "tau"), [("kl", 0.01), ("kl", 0.1), ("logit_diff", 0.1)])
@on_every_circuit
def test_acdc_finds_the_planted_edges(name, family, ablation, metric, tau):
    known = case(name, family)
    runner = _runner(known, ablation, (metric,))
    found = acdc(runner, tau=tau, metric=metric)
    assert set(runner.space.edges(found.kept)) == known.edges


@pytest.mark.parametrize("name", PLANS)
def test_sequential_acdc_finds_the_same(name):
    known = case(name, "gpt2")
    runner = _runner(known, "corrupted-mean", ("kl",))
    assert set(runner.space.edges(acdc(runner, tau=0.05, sequential=True).kept)) == known.edges


@on_every_circuit
def test_path_patching_finds_the_planted_edges(name, family, ablation):
    known = case(name, family)
    runner = _runner(known, ablation)
    found = path_patching(runner)
    assert set(runner.space.edges(found.kept)) == known.edges


@on_every_circuit
def test_path_effects_tell_planted_edges(name, family, ablation):
    known = case(name, family, n_prompts=8)
    space = EdgeSpace(known.model.info.n_layers, known.model.info.n_heads)
    effects = path_patch(known.model, known.batch, space.senders, space.receivers, ablation=ablation)
    assert _auc(known, effects.mean) == 1


@pytest.mark.parametrize(("method", "variant"), [("eap", "inputs"), ("eap-ig", "inputs"), ("eap-ig", "activations")])
@on_every_circuit
def test_edge_attribution_tells_planted_edges(name, family, ablation, method, variant):
    known = case(name, family)
    found = eap(known.model, known.batch, ablation=ablation, method=method, variant=variant)
    assert _auc(known, found.mean) >= 0.95


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PLANS)
def test_influence_finds_the_planted_nodes(name, family):
    known = case(name, family)
    found = influence(known.model, known.batch)
    assert set(influential_nodes(found, drop_share=0.2)) == known.nodes
    assert set(influential_nodes(found, top=len(known.nodes))) == known.nodes
