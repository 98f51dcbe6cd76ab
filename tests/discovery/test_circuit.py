"""The circuit as an object: what it holds, saves, loads, draws and turns into."""

import json
from collections import Counter
from dataclasses import replace

import networkx as nx
import pytest
import torch
from search_cases import EDGE_METHODS, OPTIONS, found_by, small_case

from circuitkit.core.component import Component
from circuitkit.core.edge import Edge, Receiver, Sender
from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import load_run, save_run
from circuitkit.discovery.circuit import Circuit
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import replace_components

every_method = pytest.mark.parametrize("method", OPTIONS)


def _value(kept):
    runner = CircuitRunner(*small_case("gpt2"))
    return runner.run(kept[None])["logit_diff"].double().mean().item()


@every_method
def test_saved_and_loaded_it_is_the_same(method, tmp_path):
    circuit = found_by(method)
    path = circuit.save(tmp_path / "run")
    again = Circuit.load(path)
    assert (
        again.to_dict()
        == circuit.to_dict()
        == {key: value for key, value in json.loads((path / "result.json").read_text()).items() if key != "tensors"}
    )
    assert torch.equal(again.kept, circuit.kept)
    assert (again.edge_effects is None) == (circuit.edge_effects is None) == (method not in EDGE_METHODS)
    if circuit.edge_effects is not None:
        assert torch.equal(again.edge_effects, circuit.edge_effects)
    assert repr(again) == repr(circuit)
    assert load_run(path).result["tensors"]["kept"]["axes"] == ["receiver", "sender"]


@every_method
def test_json_keeps_the_contract(method):
    circuit = found_by(method)
    result = circuit.to_dict()
    json.dumps(result, allow_nan=False)
    assert result["schema"] == "circuitkit.circuit/1"
    assert {"name", "family", "n_layers", "n_heads", "d_model", "n_params", "weights_sha256"} <= set(result["model"])
    assert {"name", "sha256", "n_prompts", "n_dropped"} <= set(result["task"])
    assert result["task"]["n_prompts"] == 8
    assert {"method", "n_prompts", "ablation", "seed", *OPTIONS[method]} <= set(result["settings"])
    assert {"command", "device", "dtype", "versions"} <= set(result)
    assert set(result["node_effects"]) == set(result["nodes"])
    assert result["gradients"] == {"eap": 1, "eap-ig": 2}.get(method)
    judged = result["faithfulness"]
    plain = ("model_logit_diff", "corrupted_logit_diff", "circuit_logit_diff", "complement_logit_diff", "faithfulness")
    for name in plain:
        low, high = judged["ci95"][name]
        assert low <= high
        assert isinstance(judged[name], float)
    assert judged["sparsity"]["n_nodes"] == len(result["nodes"]) or method not in ("prune", "influence")
    assert (result["edges"] is not None) == (method in EDGE_METHODS) == (result["kind"] == "edges")
    assert result["n_possible"] == {"nodes": 10, "edges": 110}
    if result["edges"] is not None:
        assert all(set(edge) == {"sender", "receiver", "effect"} for edge in result["edges"])
        names = [(edge["sender"], edge["receiver"]) for edge in result["edges"]]
        assert len(set(names)) == len(names) == int(circuit.kept.sum())
        for sender, receiver in names:
            assert sender in result["senders"]
            assert receiver in result["receivers"]


@every_method
def test_nodes_come_in_the_order_in_which_they_are_computed(method):
    nodes = found_by(method).nodes
    assert list(nodes) == sorted(nodes, key=lambda c: (c.layer, c.head is None, c.head or 0))


@pytest.mark.parametrize("method", EDGE_METHODS)
def test_nodes_of_a_circuit_of_edges_have_an_edge_in_and_an_edge_out(method):
    result = found_by(method).to_dict()
    inputs = {edge["receiver"].split(".")[0] for edge in result["edges"]}
    outputs = {edge["sender"] for edge in result["edges"]}
    assert set(result["nodes"]) == (inputs & outputs)


@every_method
def test_graph_is_the_circuit(method):
    circuit = found_by(method)
    graph = circuit.graph
    assert set(graph) == {"embed", "logits", *map(str, circuit.nodes)}
    assert nx.is_directed_acyclic_graph(graph)
    for node in circuit.nodes:
        data = graph.nodes[str(node)]
        effect = circuit.node_effects[node]
        assert (data["layer"], data["drop"], data["loss"]) == (node.layer, effect.drop, effect.loss)
    found = Counter()
    for sender, target, key, data in graph.edges(keys=True, data=True):
        name = target if target == "logits" or target.startswith("MLP") else f"{target}.{key}"
        edge = Edge(Sender.parse(sender), Receiver.parse(name))
        found[edge] += 1
        assert edge in circuit
        assert data["input"] == key
        assert data["effect"] == (None if circuit.edges is None else circuit.edges[edge])
    inside = {None, *circuit.nodes}
    expected = [
        edge
        for edge in circuit.space.edges(circuit.kept)
        if edge.sender.component in inside and edge.receiver.component in inside
    ]
    assert found == Counter(expected)


@every_method
def test_layout_places_every_node_of_the_graph_below_its_readers(method):
    circuit = found_by(method)
    places = circuit.layout()
    assert set(places) == set(circuit.graph)
    assert len(set(places.values())) == len(places)
    for sender, target in circuit.graph.edges():
        assert places[sender][1] < places[target][1]


@every_method
def test_frame_has_a_row_for_each_part_the_largest_effects_first(method):
    circuit = found_by(method)
    frame = circuit.frame()
    if circuit.edges is None:
        assert list(frame["node"]) == [str(node) for node in circuit.nodes]
        assert list(frame["drop"]) == [circuit.node_effects[node].drop for node in circuit.nodes]
        return
    assert {(r.sender, r.receiver): r.effect for r in frame.itertuples()} == {
        (str(e.sender), str(e.receiver)): x for e, x in circuit.edges.items()
    }
    assert list(frame["effect"].abs()) == sorted(frame["effect"].abs(), reverse=True)


def test_frames_of_empty_circuits_have_their_columns():
    for method, columns in (("acdc", ["sender", "receiver", "effect"]), ("prune", ["node", "drop", "loss"])):
        circuit = found_by(method)
        none = circuit.space.of_nodes([]) if method == "prune" else torch.zeros_like(circuit.kept)
        empty = replace(circuit, kept=none, node_effects={})
        assert list(empty.frame().columns) == columns
        assert len(empty.frame()) == len(empty.nodes) == 0
        assert set(empty.layout()) == {"embed", "logits"} == set(empty.graph)


@every_method
def test_what_is_in_it(method):
    circuit = found_by(method)
    kept = set(circuit.space.edges(circuit.kept))
    assert all((edge in circuit) == (edge in kept) for edge in circuit.space.edges())
    components = [s.component for s in circuit.space.senders if s.component]
    assert [c for c in components if c in circuit] == list(circuit.nodes)
    assert Component(7, 0) not in circuit


@pytest.mark.parametrize("method", ["prune", "influence"])
def test_a_circuit_of_nodes_is_the_same_as_one_of_edges(method):
    """Its edges as edges, those between its nodes only, and its nodes with all others ablated on the raw path."""
    circuit = found_by(method)
    model, batch = small_case("gpt2")
    value = circuit.faithfulness["circuit_logit_diff"]
    others = [c for c in model.components if c not in circuit.nodes]
    ablated = run_interventions(model, batch, [replace_components(*others)], source="corrupted-mean").changed[0]
    assert ablated.double().mean().item() == pytest.approx(value, abs=1e-4)
    assert _value(circuit.kept) == pytest.approx(value, abs=1e-4)
    assert _value(circuit.space.mask(circuit.space.edges(circuit.kept))) == pytest.approx(value, abs=1e-4)
    assert _value(circuit.space.between(circuit.nodes)) == pytest.approx(value, abs=1e-4)
    assert torch.equal(circuit.node_circuit(), circuit.kept)


@pytest.mark.parametrize("method", EDGE_METHODS)
def test_nodes_of_a_circuit_of_edges_are_a_circuit(method):
    circuit = found_by(method)
    columns = {circuit.space.sender_index[Sender(node)] for node in circuit.nodes} | {0}
    expected = circuit.space.possible.clone()
    expected[:, [i for i in range(expected.shape[1]) if i not in columns]] = False
    assert torch.equal(circuit.node_circuit(), expected)


def test_it_prints_what_it_is():
    assert repr(found_by("influence")).startswith("Circuit(influence on 'small-gpt2', random: 4 of 10 heads and MLPs, ")
    acdc = found_by("acdc")
    n, faith = len(acdc.edges), acdc.faithfulness["faithfulness"]
    assert f"{n} of 110 edges, faithfulness {faith:.3f})" in repr(acdc)
    assert "faithfulness" not in repr(replace(acdc, faithfulness=None))


def test_other_runs_are_refused(tmp_path):
    with pytest.raises(ResultError, match="No run"):
        Circuit.load(tmp_path / "none")
    save_run(tmp_path / "other", {"schema": "circuitkit.influence/1"}, {}, {})
    with pytest.raises(ResultError, match=r"holds circuitkit.influence/1; wanted circuitkit.circuit/1"):
        Circuit.load(tmp_path / "other")
    save_run(tmp_path / "bare", {"schema": "circuitkit.circuit/1"}, {}, {})
    with pytest.raises(ResultError, match="lacks") as error:
        Circuit.load(tmp_path / "bare")
    assert "\n" not in str(error.value)
