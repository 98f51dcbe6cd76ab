"""Drawings of circuits: everything inside the box, nothing on top of another, lines where their edges are."""

import functools
import itertools
import re

import fake_circuit
import pytest

from circuitkit.core.component import Component, all_components
from circuitkit.reports.circuit_graph import MOST_EDGES, edge_graph
from circuitkit.reports.circuit_grid import node_grid
from circuitkit.reports.circuit_layers import NARROW, WIDE
from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.records import read_record

SHAPES = {
    "gpt2": (12, 12, 28, 150),
    "smollm2": (30, 9, 60, 400),
    "toy": (2, 4, 6, 14),
    "wide": (3, 32, 60, 300),
    "large": (32, 32, 90, 350),
    "one": (1, 1, 2, 3),
    "all heads": (4, 16, 68, 390),
}
TEXT_WIDTH = 6.6  # of one character at 11.5px bold; measured in Chromium, see the browser test


@functools.cache
def edge_record(shape, seed=0):
    return read_record(CircuitRecord, fake_circuit.edge_circuit(*SHAPES[shape], seed=seed))


def numbers(path):
    return [float(x) for x in re.findall(r"-?\d+\.?\d*", path)]


def boxes(graph):
    return {n.name: (n.x - n.width / 2, n.y - n.height / 2, n.x + n.width / 2, n.y + n.height / 2) for n in graph.nodes}


def overlapping(graph):
    for (a, one), (b, two) in itertools.combinations(boxes(graph).items(), 2):
        if one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]:
            yield a, b


@pytest.mark.parametrize("room", [WIDE, NARROW])
@pytest.mark.parametrize("shape", SHAPES)
def test_everything_is_inside_and_no_box_covers_another(shape, room):
    graph = edge_graph(edge_record(shape), id_="g", room=room)
    assert graph.width <= room
    assert not list(overlapping(graph))
    for left, top, right, bottom in boxes(graph).values():
        assert 0 <= left < right <= graph.width and 0 <= top < bottom <= graph.height
    for edge in graph.edges:  # a curve lies within the hull of its four points
        xs, ys = numbers(edge.path)[::2], numbers(edge.path)[1::2]
        assert min(xs) >= 0 and max(xs) <= graph.width and min(ys) >= 0 and max(ys) <= graph.height, edge
    for label in graph.rows:
        assert label.x + len(label.text) * 5.6 < min(left for left, *_ in boxes(graph).values())


@pytest.mark.parametrize("room", [WIDE, NARROW])
@pytest.mark.parametrize("shape", SHAPES)
def test_layers_rise_from_the_embedding_to_the_logits(shape, room):
    graph = edge_graph(edge_record(shape), id_="g", room=room)
    at = {node.name: node.y for node in graph.nodes}
    assert max(at, key=at.__getitem__) == "embed" and min(at, key=at.__getitem__) == "logits"
    parts = [Component.parse(name) for name in at if name not in {"embed", "logits"}]
    for low, high in itertools.product(parts, parts):
        if low.layer < high.layer:
            assert at[str(low)] > at[str(high)]
        if low.layer == high.layer and high.head is None and low.head is not None:
            assert at[str(low)] > at[str(high)]  # a layer's MLP reads its heads


@pytest.mark.parametrize("shape", SHAPES)
def test_lines_join_their_components_at_the_right_input(shape):
    record = edge_record(shape)
    graph = edge_graph(record, id_="g")
    nodes = {node.name: node for node in graph.nodes}
    port = {"q": -1, "k": 0, "v": 1, "mlp": 0, "logits": 0}
    seen = []
    for line in graph.edges:
        x1, y1, *_, x2, y2 = numbers(line.path)
        sender, reader = nodes[line.sender], nodes[line.reader]
        assert (x1, y1) == pytest.approx((sender.x, sender.y - sender.height / 2), abs=0.06)
        if line.sender.partition("H")[0] == line.reader.replace("MLP", "L"):  # a head and the MLP of its layer
            assert (x2, y2) == pytest.approx((reader.x - reader.width / 2, reader.y), abs=0.06) and y2 < y1
        else:
            assert y2 == pytest.approx(reader.y + reader.height / 2, abs=0.06)
            offset = x2 - reader.x
            assert (offset > 5) - (offset < -5) == port[line.kind] and abs(offset) < reader.width / 2
        seen.append((line.sender, line.reader, line.kind, line.negative))
    wanted = []
    for edge in record.edges:
        reader, _, letter = edge.receiver.partition(".")
        kind = letter or ("logits" if reader == "logits" else "mlp")
        wanted.append((edge.sender, reader, kind, edge.effect < 0))
    assert sorted(seen) == sorted(wanted)


def test_width_grows_with_the_effect_and_the_strongest_lie_on_top():
    record = edge_record("gpt2")
    graph = edge_graph(record, id_="g")
    effects = {f"{e.sender} \u2192 {e.receiver}": abs(e.effect) for e in record.edges}
    sizes = [effects[line.title.split(":")[0]] for line in graph.edges]
    assert sizes == sorted(sizes)
    widths = [line.width for line in graph.edges]
    assert widths == sorted(widths) and widths[0] < widths[-1]


@pytest.mark.parametrize("room", [WIDE, NARROW])
def test_too_many_edges_are_cut_to_the_strongest_and_counted(room):
    record = read_record(CircuitRecord, fake_circuit.edge_circuit(30, 9, 150, 1500))
    graph = edge_graph(record, id_="g", room=room)
    limit = MOST_EDGES[room]
    ranked = sorted((abs(e.effect) for e in record.edges), reverse=True)
    effects = {f"{e.sender} \u2192 {e.receiver}": abs(e.effect) for e in record.edges}
    assert min(effects[line.title.split(":")[0]] for line in graph.edges) >= ranked[limit]
    assert len(graph.edges) == limit
    drawn = len(graph.nodes) - 2
    ends = {e.sender for e in record.edges} | {e.receiver.split(".")[0] for e in record.edges}
    everyone = len((ends | set(record.nodes)) - {"embed", "logits"})
    assert graph.said == (
        f"Drawn are the {limit} strongest of 1\u202f500 kept edges and the {drawn} of {everyone} components at their "
        "ends."
    )


def test_all_are_said_to_be_drawn_when_they_are():
    record = edge_record("gpt2")
    graph = edge_graph(record, id_="g")
    loose = [node.name for node in graph.nodes if node.state == "loose"]
    assert set(loose).isdisjoint(record.nodes) and loose
    assert graph.said == (
        f"Drawn are all 150 kept edges and all {len(record.nodes)} kept components, and {len(loose)} that only begin "
        "or only end kept edges."
    )
    assert len(graph.nodes) == len(record.nodes) + len(loose) + 2


@pytest.mark.parametrize("room", [WIDE, NARROW])
@pytest.mark.parametrize(
    ("n_layers", "n_heads", "n_kept"), [(12, 12, 30), (30, 9, 60), (2, 4, 5), (32, 32, 200), (16, 64, 9)]
)
def test_grid_marks_exactly_the_kept_components(n_layers, n_heads, n_kept, room):
    record = read_record(CircuitRecord, fake_circuit.node_circuit(n_layers, n_heads, n_kept))
    graph = node_grid(record, id_="g", room=room)
    assert sorted(n.name for n in graph.nodes) == sorted(map(str, all_components(n_layers, n_heads)))
    assert {n.name for n in graph.nodes if n.state == "kept"} == set(record.nodes)
    assert graph.width <= room and not list(overlapping(graph))
    for left, top, right, bottom in boxes(graph).values():
        assert 0 <= left < right <= graph.width and 0 <= top < bottom <= graph.height
    rows = {node.y: Component.parse(node.name).layer for node in graph.nodes}
    assert [rows[y] for y in sorted(rows)] == list(range(n_layers - 1, -1, -1))
    total = f"{n_layers * (n_heads + 1):,}".replace(",", "\u202f")
    assert f"the {n_kept} kept of {total} components" in graph.said and graph.edges == ()


@pytest.mark.parametrize("room", [WIDE, NARROW])
def test_names_fit_their_boxes(room):
    graphs = [edge_graph(edge_record(shape), id_="g", room=room) for shape in SHAPES]
    for shape in [(12, 12, 30), (30, 9, 60), (32, 32, 200)]:
        graphs.append(node_grid(read_record(CircuitRecord, fake_circuit.node_circuit(*shape)), id_="g", room=room))
    for node in (node for graph in graphs for node in graph.nodes):
        assert len(node.text) * TEXT_WIDTH <= node.width, node


def test_colour_follows_the_drop_and_negative_ones_are_marked():
    record = edge_record("gpt2")
    drops = {name: effect.drop for name, effect in record.node_effects.items()}
    nodes = {n.name: n for n in edge_graph(record, id_="g").nodes if n.name in drops}
    rising = sorted((drops[name], name) for name in nodes if drops[name] >= 0)
    steps = [nodes[name].step for _, name in rising]
    assert steps == sorted(steps) and steps[-1] == 8
    assert {name for name in nodes if nodes[name].negative} == {name for name in drops if drops[name] < 0}
    assert all(nodes[name].step is None for name in drops if drops[name] < 0)


def test_losses_stand_in_where_no_drop_was_measured():
    result = fake_circuit.node_circuit()
    for effect in result["node_effects"].values():
        effect["drop"] = None
    graph = node_grid(read_record(CircuitRecord, result), id_="g")
    assert graph.measured and graph.shade == "loss when removed from the circuit, logits"
    result["node_effects"] = {}
    assert not node_grid(read_record(CircuitRecord, result), id_="g").measured
