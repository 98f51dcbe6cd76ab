"""Pages of circuits, sweeps and comparisons: whole, safe, repeatable, and refused when the result is broken."""

import copy
import json
import re

import fake_circuit
import pytest
from html_page import Page

from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import save_run
from circuitkit.reports.circuit_keys import circuit_keys
from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.html import CONTENT_SECURITY_POLICY, report
from circuitkit.reports.records import read_record

HOSTILE = '</script><img src=x onerror=alert(1)><!-- \u2028 & ]]> </title></style> {{ 7 * 7 }}" onload="x'


def page_of(result, folder):
    return report(save_run(folder / "run", result, {}, {})).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return {kind: page_of(make(), tmp_path_factory.mktemp("runs")) for kind, make in fake_circuit.RESULTS.items()}


@pytest.mark.parametrize("kind", fake_circuit.RESULTS)
def test_page_is_one_small_closed_file(kind, pages):
    text, page = pages[kind], Page(pages[kind])
    assert len(text.encode()) < 1_500_000
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [CONTENT_SECURITY_POLICY]
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "form", "use"}
        assert not {"src", "srcset", "action", "background", "data"} & attributes.keys(), tag
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in text and "url(" not in text


@pytest.mark.parametrize("kind", fake_circuit.RESULTS)
def test_same_run_gives_the_same_bytes(kind, tmp_path):
    run = save_run(tmp_path / "run", fake_circuit.RESULTS[kind](), {}, {})
    assert report(run, tmp_path / "a.html").read_bytes() == report(run, tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize("kind", fake_circuit.RESULTS)
def test_page_is_accessible_in_its_bones(kind, pages):
    page = Page(pages[kind])
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    figures = [a for tag, a in page.tags if a.get("role") == "img" or (tag == "svg" and "aria-hidden" not in a)]
    assert figures and all(a.get("aria-label") for a in figures)
    assert all(a.get("scope") in {"row", "col"} for tag, a in page.tags if tag == "th")


def test_figures_need_their_script_only_where_there_are_any(pages):
    assert 'packed-plotly">' in pages["nodes"] and 'packed-plotly">' not in pages["comparison"]


@pytest.mark.parametrize("kind", ["edges", "deep", "toy"])
def test_edges_stand_in_the_table_strongest_first(kind, pages):
    edges = fake_circuit.RESULTS[kind]()["edges"]
    ranked = sorted(edges, key=lambda e: (-abs(e["effect"]), e["sender"], e["receiver"]))[:200]
    rows = [tuple(row) for row in Page(pages[kind]).rows if len(row) == 3]
    wanted = [(e["sender"], e["receiver"], f"{e['effect'] + 0.0:.3f}".replace("-0.000", "0.000")) for e in ranked]
    wanted = [(s, r, effect.replace("-", "\u2212")) for s, r, effect in wanted]
    start = rows.index(("sender", "receiver", "effect")) + 1
    assert rows[start : start + len(wanted)] == wanted
    text = " ".join("".join(Page(pages[kind]).text).split())
    said = f"All {len(edges)} kept edges" if len(edges) <= 200 else f"The first 200 of {len(edges)} kept edges"
    assert said in text


def test_every_drawn_node_and_edge_carries_its_numbers(pages):
    result, text = fake_circuit.edge_circuit(), pages["edges"]
    for name, effect in result["node_effects"].items():
        drop = f"{effect['drop']:.3f}".replace("-", "\u2212")
        assert re.search(rf'data-node="{name}"[^>]*aria-label="{name}: drop {drop} logits', text)
    assert text.count("data-from=") == len(result["edges"])
    assert "L0H0" not in text or "L0H0" in json.dumps(result)


def test_curve_and_minimality_are_shown_when_there(pages, tmp_path):
    assert 'id="curve"' in pages["nodes"] and "Is each part needed?" in pages["nodes"]
    bare = fake_circuit.node_circuit()
    bare["faithfulness"] |= {"curve": None, "minimality": None}
    text = page_of(bare, tmp_path)
    assert 'id="curve"' not in text and "Is each part needed?" not in text


def test_missing_numbers_are_dashes_not_zeros(tmp_path):
    result = fake_circuit.edge_circuit()
    result["node_effects"] = {}
    result["faithfulness"] = {key: result["faithfulness"][key] for key in ("model_logit_diff", "circuit_logit_diff")}
    for edge in result["edges"]:
        edge["effect"] = None
    page = Page(page_of(result, tmp_path))
    assert any(row[1:] == ["\u2013", "\u2013"] for row in page.rows)
    assert "effects of single components were not measured" in "".join(page.text)


@pytest.mark.parametrize(
    ("runs", "gradients", "shown"),
    [
        (412, None, {"Circuits run": "412"}),
        (0, 1, {"Gradients taken": "1"}),
        (14, 25, {"Circuits run": "14", "Gradients taken": "25"}),
        (0, None, {}),
        (None, None, {}),
    ],
)
def test_what_was_not_run_is_not_counted(runs, gradients, shown, tmp_path):
    result = fake_circuit.edge_circuit() | {"evaluations": runs, "gradients": gradients}
    keys = {key.name: key.value for key in circuit_keys(read_record(CircuitRecord, result))}
    assert {name: keys[name] for name in keys if name in ("Circuits run", "Gradients taken")} == shown
    text = page_of(result, tmp_path)
    assert [name in text for name in ("Circuits run", "Gradients taken")] == [bool(runs), bool(gradients)]


@pytest.mark.parametrize("kind", ["edges", "comparison"])
def test_unjudged_circuits_are_drawn_and_said_to_be_unjudged(kind, tmp_path):
    result = copy.deepcopy(fake_circuit.RESULTS[kind]())
    for part in result.get("circuits", {"only": result}).values():
        part["faithfulness"] = None
    text = page_of(result, tmp_path)
    assert "how much of the answer they keep was not measured" in text and "was not judged" in text
    assert "data-node=" in text


@pytest.mark.parametrize("edges", [True, False])
def test_nothing_kept_is_a_page_too(edges, tmp_path):
    result = fake_circuit.edge_circuit() if edges else fake_circuit.node_circuit()
    result |= {"nodes": [], "node_effects": {}, "edges": [] if edges else None}
    result["faithfulness"]["minimality"] = None
    text = page_of(result, tmp_path)
    assert "nothing of gpt2 was kept" in text
    assert ("No edge is kept, so none is drawn." in text) is edges


def test_effects_on_kl_are_in_nats_and_drops_stay_in_logits(tmp_path):
    result = fake_circuit.edge_circuit()
    result["settings"]["metric"] = "kl"
    text = page_of(result, tmp_path)
    first, name = result["edges"][0], result["nodes"][0]
    effect = f"{first['effect']:.3f}".replace("-", "\u2212")
    assert f"{first['sender']} \u2192 {first['receiver']}: effect {effect} nats" in text
    drop = f"{result['node_effects'][name]['drop']:.3f}".replace("-", "\u2212")
    assert f"{name}: drop {drop} logits" in text


def test_a_sweep_lists_every_point(pages):
    rows = Page(pages["sweep"]).rows
    for point in fake_circuit.sweep_result()["points"]:
        row = next(row for row in rows if row and row[0] == f"{point['value']:g}")
        assert row[1] == str(point["n_nodes"]) and row[3] == f"{point['faithfulness']:.3f}"


@pytest.mark.parametrize("kind", ["edges", "nodes", "sweep", "comparison"])
def test_hostile_strings_stay_text(kind, tmp_path):
    result = copy.deepcopy(fake_circuit.RESULTS[kind]())
    parts = [result, *result.get("circuits", {}).values()]
    for part in parts:
        part["command"] = part["settings"]["note"] = part["task"]["name"] = HOSTILE
        part["settings"]["ablation"] = HOSTILE
        part["warnings"] = [HOSTILE]
        for who in {"model", "teacher", "student"} & part.keys():
            part[who]["name"] = part[who]["family"] = HOSTILE
        if "method" in part:
            part["method"] = HOSTILE
        if "faithfulness" in part and part["faithfulness"]["minimality"]:
            part["faithfulness"]["minimality"]["parts"] = {HOSTILE: {"loss": 0.5}}
    text = page_of(result, tmp_path)
    page = Page(text)
    assert "img" not in [tag for tag, _ in page.tags]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert text.count("<script") == text.count("</script>") == 2 + (kind != "comparison")
    assert text.count("<style>") == text.count("</style>") == 1
    assert HOSTILE in "".join(page.text)


def without(*path):
    def change(result):
        *way, last = path
        for key in way:
            result = result[key]
        del result[last]

    return change


def setting(value, *path):
    def change(result):
        *way, last = path
        for key in way:
            result = result[key]
        result[last] = value

    return change


BAD = {
    "no model": ("edges", without("model"), "model"),
    "no verdict": ("edges", without("faithfulness", "circuit_logit_diff"), "faithfulness.circuit_logit_diff"),
    "text for a number": ("nodes", setting("high", "faithfulness", "faithfulness"), "faithfulness.faithfulness"),
    "node name": ("nodes", setting("<b>", "nodes", 0), "<b>"),
    "node outside": ("nodes", setting("L99H0", "nodes", 0), "L99H0 is not in a model of 12 layers"),
    "node twice": ("nodes", lambda r: r["nodes"].append(r["nodes"][0]), "stands there twice"),
    "edges missing": ("edges", setting(None, "edges"), "lacks its edges"),
    "edges too many": ("nodes", setting([], "edges"), "a circuit of nodes has edges"),
    "sender": ("edges", setting("logits", "edges", 0, "sender"), "edges.0.sender"),
    "receiver": ("edges", setting("L1H2", "edges", 0, "receiver"), "edges.0.receiver"),
    "backwards": ("edges", lambda r: r["edges"][0].update(sender="L5H1", receiver="L5H1.q"), "not an edge"),
    "edge twice": ("edges", lambda r: r["edges"].append(r["edges"][0]), "twice"),
    "more than all": ("nodes", setting(3, "n_possible", "nodes"), "30 components are kept of 3"),
    "curve": ("nodes", lambda r: r["faithfulness"]["curve"]["sizes"].pop(), "faithfulness.curve"),
    "no points": ("sweep", setting([], "points"), "points"),
    "parameter": ("sweep", setting("<script>", "parameter"), "parameter"),
    "half a comparison": ("comparison", without("circuits", "student"), "circuits.student"),
    "pair": ("comparison", setting("head", "pairs", 0, "teacher"), "pairs.0.teacher"),
}


@pytest.mark.parametrize("name", BAD)
def test_broken_results_are_named_not_drawn(name, tmp_path):
    kind, change, wanted = BAD[name]
    result = copy.deepcopy(fake_circuit.RESULTS[kind]())
    change(result)
    run = save_run(tmp_path / "run", result, {}, {})
    with pytest.raises(ResultError) as caught:
        report(run)
    message = str(caught.value)
    assert wanted in message and "\n" not in message
    assert not (run / "report.html").exists()
