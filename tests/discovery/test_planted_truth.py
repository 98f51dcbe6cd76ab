"""Planted circuits are what the models compute with: checked by hand on the raw modules, edge by edge."""

import functools

import pytest
import torch
from brute_edges import EdgesByHand
from brute_force import ablated_logit_diff, read
from planted import PLANS, planted
from planted_weights import N_HEADS

from circuitkit.core.component import Component, all_components
from circuitkit.core.edge import EdgeSpace
from circuitkit.interventions.circuit_runner import CircuitRunner

FAMILIES = ("gpt2", "llama", "bert", "distilbert")
ABLATIONS = ("corrupted-mean", "resample")
KEPT, LOST, NOTHING = 0.95, 0.25, 1e-3
case = functools.cache(planted)


def _space(known):
    return EdgeSpace(known.model.info.n_layers, known.model.info.n_heads)


def _by_hand(known, ablation):
    return EdgesByHand(known.model.raw, known.model.info.family, known.batch, ablation)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PLANS)
def test_planted_edges_suffice_and_each_is_needed(name, family, ablation):
    known = case(name, family, n_prompts=12)
    by_hand, every = _by_hand(known, ablation), set(_space(known).edges())
    clean = by_hand.logit_diff(every)
    assert clean.min() > 3
    assert by_hand.logits(every).argmax(-1).tolist() == known.batch.correct_ids.tolist()
    assert by_hand.logit_diff(known.edges).mean() > KEPT * clean.mean()
    assert by_hand.logit_diff(every - known.edges).mean() < 0.2 * clean.mean()
    for edge in known.edges:
        assert by_hand.logit_diff(known.edges - {edge}).mean() < (1 - LOST) * clean.mean(), str(edge)
        assert by_hand.logit_diff(every - {edge}).mean() < (1 - LOST) * clean.mean(), str(edge)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PLANS)
def test_other_edges_do_nothing_by_hand(name, family):
    """Every fourth of them; the next test takes all."""
    known = case(name, family, n_prompts=2)
    by_hand, order = _by_hand(known, "resample"), _space(known).edges()
    every = set(order)
    clean = by_hand.logit_diff(every)
    for edge in [edge for edge in order if edge not in known.edges][::4]:
        assert (by_hand.logit_diff(every - {edge}) - clean).abs().max() < NOTHING * clean.mean(), str(edge)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PLANS)
def test_no_other_edge_does_anything(name, family, ablation):
    """On any prompt: neither removed from the model nor added to the circuit."""
    known = case(name, family, n_prompts=8)
    space = _space(known)
    truth, others = space.mask(known.edges), [edge for edge in space.edges() if edge not in known.edges]
    alone = torch.stack([space.mask([edge]) for edge in others])
    runner = CircuitRunner(known.model, known.batch, source=ablation)
    kept = runner.run(truth[None])["logit_diff"]
    limit = NOTHING * runner.clean["logit_diff"].mean()
    assert (runner.run(space.possible & ~alone)["logit_diff"] - runner.clean["logit_diff"]).abs().max() < limit
    assert (runner.run(truth | alone)["logit_diff"] - kept).abs().max() < limit


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PLANS)
def test_planted_nodes_are_needed_and_no_others(name, family):
    known = case(name, family, n_prompts=12)
    clean = ablated_logit_diff(known.model.raw, family, None, known.batch, "corrupted-mean")
    for component in all_components(known.model.info.n_layers, N_HEADS):
        changed = ablated_logit_diff(known.model.raw, family, component, known.batch, "corrupted-mean")
        if component in known.nodes:
            assert changed.mean() < (1 - LOST) * clean.mean(), str(component)
        else:
            assert (changed - clean).abs().max() < NOTHING * clean.mean(), str(component)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PLANS)
def test_bystanders_are_alive(name, family):
    """What is not planted depends on the prompt too, but for the deaf head (and who shares its values)."""
    known = case(name, family, n_prompts=12)
    changes = {}
    for component in all_components(known.model.info.n_layers, N_HEADS):
        clean, other = (
            read(known.model.raw, family, component, block)[known.batch.clean.mask]
            for block in (known.batch.clean, known.batch.corrupted)
        )
        changes[component] = float((clean - other).norm(dim=-1).mean() / clean.norm(dim=-1).mean())
    deaf = {component for component, change in changes.items() if change < 0.1}
    assert Component(0, 3) in deaf
    assert deaf <= {Component(0, 3), *([Component(0, 2)] if family == "llama" else [])}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", PLANS)
def test_other_weights_and_prompts(name, seed):
    known = planted(name, "gpt2", n_prompts=12, seed=seed)
    by_hand, every = _by_hand(known, "corrupted-mean"), set(_space(known).edges())
    clean = by_hand.logit_diff(every).mean()
    assert by_hand.logit_diff(known.edges).mean() > KEPT * clean
    for edge in known.edges:
        assert by_hand.logit_diff(known.edges - {edge}).mean() < (1 - LOST) * clean, str(edge)
