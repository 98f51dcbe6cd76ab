from types import SimpleNamespace
from xml.etree import ElementTree

import fake_run
import pytest

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


def test_hostile_names_are_escaped():
    result = fake_run.alignment_result()
    result["student"]["name"] = result["warnings"][0] = HOSTILE
    tree = parsed(alignment_html(result))
    assert "img" not in {element.tag for element in tree.iter()}


def test_extension_serves_the_types_by_name():
    core = pytest.importorskip("IPython.core.formatters")
    formatter = core.HTMLFormatter()
    load_ipython_extension(SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": formatter})))

    kind = type("Influence", (), {"to_dict": lambda self: fake_run.influence_result()})
    kind.__module__ = "circuitkit.discovery.influence"
    assert "matters most" in formatter(kind())
