"""What is said of circuits: never more than the numbers, and the awkward ones by themselves."""

import copy

import fake_circuit
import pytest

from circuitkit.reports.circuit_keys import circuit_keys
from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.circuit_study_records import ComparisonRecord, SweepRecord
from circuitkit.reports.circuit_verdict import circuit_verdict, circuit_warnings
from circuitkit.reports.comparison import badges, comparison_rows, comparison_verdict, matches
from circuitkit.reports.curve_figure import curve_figure
from circuitkit.reports.records import read_record
from circuitkit.reports.sweep_figure import sweep_figure
from circuitkit.reports.sweep_verdict import sweep_verdict


@pytest.fixture
def result():
    return copy.deepcopy(fake_circuit.node_circuit())


def read(result):
    return read_record(CircuitRecord, result)


def test_size_and_faithfulness_make_the_headline(result):
    assert circuit_verdict(read(result)).headline == "On ioi, 30 of 156 components of gpt2 keep 86% of the answer."
    edges = read(fake_circuit.edge_circuit())
    n = len(edges.nodes)
    assert circuit_verdict(edges).headline == (
        f"On ioi, 150 of 32\u202f491 edges ({n} of 156 components) of gpt2 keep 86% of the answer."
    )


@pytest.mark.parametrize(
    ("value", "bounds", "wanted"),
    [
        (0.31, [0.2, 0.4], "keep only 31% of the answer"),
        (0.31, [-0.1, 0.7], "cannot be shown to reproduce any of the answer"),
        (1.32, [1.2, 1.4], "answer more strongly than the whole model (faithfulness 132%)"),
        (None, None, "have no defined faithfulness"),
    ],
)
def test_the_verb_is_no_stronger_than_the_number(result, value, bounds, wanted):
    result["faithfulness"] |= {"faithfulness": value, "complement_share": None}
    result["faithfulness"]["ci95"] |= {"faithfulness": bounds, "complement_share": None}
    assert wanted in circuit_verdict(read(result)).headline


def test_inability_comes_first(result):
    result["faithfulness"]["ci95"]["model_logit_diff"] = [-0.2, 0.4]
    assert circuit_verdict(read(result)).headline.startswith("gpt2 cannot be shown to do ioi")


def test_what_is_left_without_the_circuit_is_worked_out_where_it_was_not_saved(result):
    result["faithfulness"] |= {"complement_share": None, "complement_logit_diff": 1.5}
    support = " ".join(circuit_verdict(read(result)).support)
    assert "logit difference is 1.50: 49% of the answer is left" in support  # (1.5 + .31) / (3.42 + .31) = .485
    assert any("still gives 49% of the answer" in text for text in circuit_warnings(read(result)))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda r: r["faithfulness"].update(faithfulness=1.3), "Faithfulness is above 1 (1.30)"),
        (lambda r: r["faithfulness"]["ci95"].update(faithfulness=None), "No interval was computed"),
        (lambda r: r["n_possible"].update(nodes=40), "More than half of all components are kept"),
        (lambda r: r["task"].update(n_prompts=7), "Only 7 prompts were used"),
        (lambda r: r["task"].update(n_prompts=1), "Only one prompt was used"),
        (lambda r: None, "not minimal: 1 of 30 measured parts"),
    ],
)
def test_awkward_numbers_are_warned_of(result, change, wanted):
    change(result)
    found = circuit_warnings(read(result))
    assert any(wanted in text for text in found) and found[0] == result["warnings"][0]


def test_a_clean_result_has_no_warnings_of_ours(result):
    result["faithfulness"]["minimality"] = None
    assert circuit_warnings(read(result)) == tuple(result["warnings"])


def test_intervals_stand_with_their_numbers(result):
    keys = {key.name: key for key in circuit_keys(read(result))}
    assert keys["Faithfulness"].value == "0.860" and "0.810 to 0.910" in keys["Faithfulness"].note
    assert keys["KL from the model"].value == "0.182" and "0.150 to 0.210" in keys["KL from the model"].note
    assert keys["Accuracy, circuit"].value == "96%" and keys["Components kept"].note == "of 156, 19%"
    assert keys["Completeness gap"].value == "0.210" and "10 subsets" in keys["Completeness gap"].note


def test_the_circuit_stands_on_the_axis_of_its_curve(result):
    record = read(result)
    curve = record.faithfulness.curve
    figure = curve_figure("c", record, curve)
    by_value, by_magnitude, here = figure.data
    assert by_value["x"] == list(curve.sizes) and by_value["y"] == list(curve.faithfulness)
    assert here["x"] == [pytest.approx(30 / 156)] and here["y"] == [0.86]
    assert figure.layout["xaxis"]["type"] == "log"
    low, high = by_value["error_y"]["arrayminus"], by_value["error_y"]["array"]
    assert low == pytest.approx([0.05] * 10) and high == pytest.approx([0.05] * 10)
    result["faithfulness"]["curve"] |= {"faithfulness": None, "faithfulness_by_magnitude": None, "ci95": {}}
    assert curve_figure("c", read(result), read(result).faithfulness.curve) is None


def sweep(change=lambda r: None):
    result = copy.deepcopy(fake_circuit.sweep_result())
    change(result)
    return read_record(SweepRecord, result)


def test_sweep_names_the_smallest_circuit_that_is_faithful_enough():
    record = sweep()
    enough = [p for p in record.points if p.faithfulness >= 0.9]
    least = min(enough, key=lambda p: p.n_edges)
    assert sweep_verdict(record).headline == (
        f"On ioi, the smallest circuit of gpt2 that keeps 90% of the answer has {least.n_edges} edges between "
        f"{least.n_nodes} components (tau {least.value:g})."
    )


def test_sweep_says_when_none_is():
    def weaken(result):
        for point in result["points"]:
            point["faithfulness"] *= 0.5

    assert "no circuit of gpt2 keeps 90% of the answer; the best keeps 51%" in sweep_verdict(sweep(weaken)).headline

    def unjudged(result):
        for point in result["points"]:
            point |= {"faithfulness": None, "ci95": None}

    assert "were not judged" in sweep_verdict(sweep(unjudged)).headline


def test_sweep_plots_every_measured_point_in_order():
    record = sweep(lambda r: r["points"].reverse())
    traces = {trace["name"]: trace for trace in sweep_figure("s", record).data}
    assert traces.keys() == {"faithfulness", "left without the circuit", "accuracy", "KL", "components", "edges"}
    for name, key in (("faithfulness", "faithfulness"), ("KL", "kl"), ("edges", "n_edges")):
        wanted = sorted((p.value, getattr(p, key)) for p in record.points)
        assert list(zip(traces[name]["x"], traces[name]["y"], strict=True)) == wanted

    def only_nodes(result):
        for point in result["points"]:
            point |= {"n_edges": None, "kl": None, "complement_share": None, "accuracy": None, "ci95": None}
        result |= {"parameter": "threshold", "points": result["points"][:2]}

    figure = sweep_figure("s", sweep(only_nodes))
    assert [trace["name"] for trace in figure.data] == ["faithfulness", "components"]
    assert figure.layout["xaxis"].get("type") is None


def comparison(change=lambda r: None):
    result = copy.deepcopy(fake_circuit.comparison_result())
    change(result)
    return read_record(ComparisonRecord, result)


def test_partners_in_both_circuits_share_a_number():
    record = comparison()
    found = matches(record)
    kept = set(record.circuits.student.nodes)
    wanted = {(p.teacher, p.student) for p in record.pairs if p.student in kept}
    assert {(m.teacher, m.student) for m in found} == wanted and found
    left, right = badges(found, "teacher"), badges(found, "student")
    assert all(left[t] == right[s] for t, s in wanted)
    assert len(set(right.values())) == len(right)  # one number a student component
    said = " ".join(comparison_verdict(record, found).support)
    assert f"for {len(found)} of them that partner is in the student's circuit" in said


def test_the_most_similar_partner_counts_where_there_are_several():
    def soften(result):
        name, student = result["circuits"]["teacher"]["nodes"][0], result["circuits"]["student"]["nodes"]
        result["pairs"] = [
            {"teacher": name, "student": student[i], "similarity": s} for i, s in enumerate((0.2, 0.9, 0.5))
        ]

    record = comparison(soften)
    assert [(m.student, m.similarity) for m in matches(record)] == [(record.circuits.student.nodes[1], 0.9)]


def test_no_matching_is_said():
    record = comparison(lambda r: r.pop("pairs"))
    assert matches(record) == ()
    assert any("No matching of components was saved" in text for text in comparison_verdict(record, ()).support)


def test_comparison_puts_inability_first_and_shows_both_columns():
    record = comparison()
    assert comparison_verdict(record, ()).headline == (
        "On ioi, gpt2 has a circuit of 110 edges with faithfulness 0.87, and distilgpt2 has a circuit of 70 edges with "
        "faithfulness 0.88."
    )
    rows = {name: values for name, *values in comparison_rows(record)}
    assert rows["edges kept"] == ["110 of 32\u202f491", "70 of 7\u202f588"]
    assert rows["mean drop of single components, %"][1] == "18.2 (95% interval 17.0 to 19.5)"

    def unable(result):
        result["circuits"]["student"]["faithfulness"]["ci95"]["model_logit_diff"] = [-1.0, 1.0]

    assert comparison_verdict(comparison(unable), ()).headline.startswith("distilgpt2 cannot be shown to do ioi")
