from types import SimpleNamespace
from xml.etree import ElementTree

import fake_circuit
import fake_run
import pytest

from circuitkit.discovery.circuit import Circuit
from circuitkit.discovery.influence_result import Influence
from circuitkit.reports.circuit_summary import circuit_summary
from circuitkit.reports.jupyter import alignment_html, influence_html, load_ipython_extension

HOSTILE = "<img src=x onerror=alert(1)>"


def parsed(text):
    return ElementTree.fromstring(text.replace("&nbsp;", " "))


def test_alignment_shows_headline_maps_and_pairs_without_scripts():
    result = fake_run.alignment_result()
    text = alignment_html(result)
    tree = parsed(text)
    assert "script" not in {element.tag for element in tree.iter()} and len(text) < 40_000
    assert "toy-distilgpt2 scores" in tree.find("p").text
    assert [len(svg.findall("rect")) for svg in tree.iter("svg")] == [20, 10]
    rows = [[cell.text for cell in row] for row in tree.find("table/tbody")]
    top = max(result["pairs"], key=lambda pair: pair["teacher_influence"])
    assert rows[0][:2] == [top["teacher"], top["student"]] and len(rows) == 10


def test_influence_shows_one_map():
    tree = parsed(influence_html(fake_run.influence_result()))
    assert [len(svg.findall("rect")) for svg in tree.iter("svg")] == [20]


@pytest.mark.parametrize("kind", ["nodes", "edges", "toy"])
def test_circuit_shows_its_map_and_its_strongest_parts(kind):
    result = fake_circuit.RESULTS[kind]()
    text = circuit_summary(result)
    tree = parsed(text)
    assert not {"script", "style"} & {element.tag for element in tree.iter()} and len(text) < 60_000
    assert "of the answer" in tree.find("p").text
    titles = [title.text for title in tree.iter("title")]
    assert len(titles) == result["n_possible"]["nodes"]
    kept = {title.split(":")[0] for title in titles if "not in the circuit" not in title}
    assert kept == set(result["nodes"])
    fills = {rect.find("title").text: rect.get("fill") for rect in tree.iter("rect")}
    outside = {fill for title, fill in fills.items() if "not in the circuit" in title}
    inside = {fill for title, fill in fills.items() if "not in the circuit" not in title}
    assert len(outside) == 1 and not outside & inside
    rows = [[cell.text for cell in row] for row in tree.find("table/tbody")]
    assert len(rows) == min(10, len(result["edges"] or result["nodes"]))
    if result["edges"]:
        top = max(result["edges"], key=lambda edge: abs(edge["effect"]))
        assert rows[0][:2] == [top["sender"], top["receiver"]]
    else:
        assert rows[0][0] == max(result["node_effects"], key=lambda n: abs(result["node_effects"][n]["drop"]))


def test_hostile_names_are_escaped():
    result = fake_run.alignment_result()
    result["student"]["name"] = result["warnings"][0] = HOSTILE
    circuit = fake_circuit.edge_circuit()
    circuit["model"]["name"] = circuit["warnings"][0] = circuit["method"] = HOSTILE
    assert "img" not in {element.tag for element in parsed(circuit_summary(circuit)).iter()}
    tree = parsed(alignment_html(result))
    assert "img" not in {element.tag for element in tree.iter()}


def test_extension_serves_the_types_by_name():
    core = pytest.importorskip("IPython.core.formatters")
    formatter = core.HTMLFormatter()
    load_ipython_extension(SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": formatter})))

    for real, result, words in (
        (Influence, fake_run.influence_result(), "matters most"),
        (Circuit, fake_circuit.edge_circuit(), "edges"),
    ):
        kind = type(real.__name__, (), {"to_dict": lambda self, result=result: result})
        kind.__module__ = real.__module__
        assert words in formatter(kind())
