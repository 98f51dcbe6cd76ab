"""Drops against published percentages, hand-worked intervals, and ablation by hand on the raw modules."""

import numpy as np
import pytest
import torch
from brute_force import intervened_logits, replacement_value, token_batch

from circuitkit.core.bootstrap import BootstrapWeights
from circuitkit.core.component import Component
from circuitkit.core.edge import Receiver, Sender
from circuitkit.core.progress import silent
from circuitkit.discovery.discover import discover
from circuitkit.experiments.drops import Drop, drops_from_circuit, drops_together, more_in_student
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.circuit_runner import CircuitRunner

PUBLISHED = {  # case_study/numerals notebooks: retained % of the circuit, and of it minus the head; Table 1 with - sign
    "L1H5": (81.0075, 53.1753, 27.83),
    "L4H4": (81.0075, 47.8225, 33.18),  # 33.185
    "L7H11": (81.0075, 39.3698, 41.64),
    "L9H1": (81.0075, 46.0633, 34.94),
    "distilgpt2 L2H4": (80.1223, -7.6103, 87.73),
    "distilgpt2 L3H11": (80.1223, 7.2943, 72.83),
    "distilgpt2 L4H1": (80.1223, 2.5558, 77.57),
}
HOW = {"ablation": Ablation.CORRUPTED_MEAN, "batch_size": "auto", "weights": None, "progress": silent}


@pytest.mark.parametrize("name", PUBLISHED)
def test_table_1_of_the_paper_is_the_circuit_minus_the_head_over_the_whole_model(name):
    """Whatever the model's logit difference is: percentages of it are kept."""
    circuit, without, printed = PUBLISHED[name]
    whole = torch.tensor([5.9, 6.1, 6.3, 6.1507], dtype=torch.float64)  # mean 6.1127, as printed for GPT-2
    fall = (circuit - without) / 100 * whole
    found = Drop(whole=whole, fall=fall, weights=None)
    assert found.points == pytest.approx(printed, abs=0.0051)
    assert found.to_dict()["points_ci95"] is None


def test_intervals_draw_the_whole_model_along():
    whole, fall = torch.tensor([4.0, 6.0, 5.0, 7.0, 6.0]), torch.tensor([1.0, 4.0, -1.0, 3.0, 2.0])
    found = Drop(whole=whole, fall=fall, weights=BootstrapWeights(n_prompts=5, n_draws=400, seed=3)).to_dict()
    drawn = torch.randint(5, (400, 5), generator=torch.Generator().manual_seed(3)).numpy()
    means = [x.double().numpy()[drawn].mean(1) for x in (whole, fall)]
    assert found["logits"] == pytest.approx(9 / 5)
    assert found["points"] == pytest.approx(100 * 9 / 28)
    assert found["logits_ci95"] == pytest.approx(np.quantile(means[1], [0.025, 0.975]).tolist())
    assert found["points_ci95"] == pytest.approx(np.quantile(100 * means[1] / means[0], [0.025, 0.975]).tolist())


def test_a_model_that_does_not_do_the_task_has_no_percentages():
    weights = BootstrapWeights(n_prompts=4, n_draws=50, seed=0)
    unable = Drop(whole=torch.tensor([1.0, -1.0, 0.5, -0.4]), fall=torch.ones(4), weights=weights)
    able = Drop(whole=torch.tensor([4.0, 5.0, 4.0, 5.0]), fall=torch.ones(4), weights=weights)
    assert unable.to_dict() == {"logits": 1, "logits_ci95": [1, 1], "points": None, "points_ci95": None}
    assert more_in_student(able, unable) is more_in_student(None, able) is None
    twice = Drop(whole=able.whole, fall=2 * able.fall, weights=weights)
    assert more_in_student(able, twice)["points"] == pytest.approx(100 / 4.5)
    assert more_in_student(able, able) == {"points": 0, "points_ci95": [0, 0]}


def _logit_diffs(model, batch, components):
    """By hand, with components replaced by their mean over the corrupted prompts of one length."""
    family = model.info.family
    edits = {c: (replacement_value(model.raw, family, c, batch, "corrupted-mean"), None) for c in components}
    logits = intervened_logits(model.raw, family, edits, batch.clean)
    rows = torch.arange(len(logits))
    return logits[rows, batch.correct_ids] - logits[rows, batch.incorrect_ids]


def _prompts(model):
    return token_batch(model.info.vocab_size, [[6, 6], [8, 8]], answer_inside=not model.is_causal)


def test_drops_are_those_of_ablation_by_hand(tiny_model):
    batch, components = _prompts(tiny_model), tiny_model.components
    groups = [(Component(0, 0),), (Component(0, 1), Component(1, 0), Component(1))]
    for group, drop in zip(groups, drops_together(tiny_model, batch, groups, **HOW), strict=True):
        wanted = _logit_diffs(tiny_model, batch, []) - _logit_diffs(tiny_model, batch, group)
        torch.testing.assert_close(drop.fall, wanted, atol=1e-4, rtol=1e-4)
    circuit = discover(tiny_model, batch, method="influence", top=len(components) // 2, judged="none", bootstrap=0)
    outside = [c for c in components if c not in circuit.nodes]
    found = drops_from_circuit(tiny_model, batch, circuit, components, **HOW)
    assert set(found) == set(circuit.nodes)  # what is not in the circuit cannot be removed from it
    for component in circuit.nodes[:3]:
        wanted = _logit_diffs(tiny_model, batch, outside) - _logit_diffs(tiny_model, batch, [*outside, component])
        torch.testing.assert_close(found[component].fall, wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found[component].whole, _logit_diffs(tiny_model, batch, []), atol=1e-4, rtol=1e-4)


def test_a_component_of_a_circuit_of_edges_is_removed_with_all_its_edges(tiny_models):
    model = tiny_models["gpt2"]
    batch = _prompts(model)
    circuit = discover(model, batch, method="eap", top=60, judged="none", bootstrap=0)
    found = drops_from_circuit(model, batch, circuit, model.components, **HOW)
    assert circuit.edges and found
    runner, space = CircuitRunner(model, batch, plain=True), circuit.space
    for component, drop in found.items():
        inputs = ("q", "k", "v") if component.head is not None else (None,)
        less = circuit.kept.clone()
        less[:, space.sender_index[Sender(component)]] = False
        less[[space.receiver_index[Receiver(component, name)] for name in inputs]] = False  # nobody hears it anyway
        whole, without = runner.run(torch.stack([circuit.kept, less]))["logit_diff"]
        torch.testing.assert_close(drop.fall, whole - without, atol=1e-4, rtol=1e-4)


def test_nothing_to_remove_runs_nothing(tiny_models):
    model = tiny_models["gpt2"]
    batch = _prompts(model)
    circuit = discover(model, batch, method="influence", top=1, judged="none", bootstrap=0)
    outside = [c for c in model.components if c not in circuit.nodes]
    assert drops_from_circuit(model, batch, circuit, outside, **HOW) == {}
    assert drops_together(model, batch, [], **HOW) == []
