"""Circuits over a method's parameter: each the one that is found by itself."""

import json
from dataclasses import replace

import pytest
from search_cases import OPTIONS, found_by, small_case

from circuitkit.core.errors import OptionError, ResultError
from circuitkit.core.run_directory import load_run
from circuitkit.discovery.circuit import Circuit
from circuitkit.discovery.circuit_sweep import PARAMETERS, CircuitSweep, sweep_circuits
from circuitkit.discovery.discover import discover
from circuitkit.discovery.search import TAKES
from circuitkit.reports.html import report

VALUES = {"threshold": (0.2, 0.6), "tau": (0.1, 0.4), "top": (2, 9)}


def _swept(method, values, *, judged="basic", reports=None):
    model, batch = small_case("gpt2")
    fixed = {k: v for k, v in OPTIONS[method].items() if k in ("steps", "node_threshold")}

    def search(given, progress):
        return discover(model, batch, method=method, judged=judged, bootstrap=20, progress=progress, **fixed, **given)

    def progress(*report):
        if reports is not None:
            reports.append(report)

    return sweep_circuits(search, method, values, progress=progress), fixed


def test_every_method_has_something_to_sweep():
    assert set(PARAMETERS) == set(TAKES)
    assert all(parameter in TAKES[method] for method, parameter in PARAMETERS.items())


@pytest.mark.parametrize("method", OPTIONS)
def test_each_is_the_circuit_that_is_found_by_itself(method, tmp_path):
    values = VALUES[PARAMETERS[method]]
    reports = []
    sweep, fixed = _swept(method, values, reports=reports)
    points = sweep.points()
    for value, circuit, point in zip(values, sweep.circuits, points, strict=True):
        alone = discover(*small_case("gpt2"), method=method, bootstrap=20, **fixed, **{PARAMETERS[method]: value})
        assert circuit.to_dict() == alone.to_dict()
        judged = alone.faithfulness
        assert point["value"] == value
        assert point["n_nodes"] == len(alone.nodes)
        assert point["n_edges"] == (None if alone.edges is None else len(alone.edges))
        assert point["faithfulness"] == judged["faithfulness"]
        assert point["ci95"] == judged["ci95"]["faithfulness"]
        assert point["circuit_logit_diff"] == judged["circuit_logit_diff"]
        assert point["kl"] == judged["kl"]["mean"]
        assert point["accuracy"] == judged["accuracy"]["circuit"]
        assert point["completeness"] is None
    result = sweep.to_dict()
    json.dumps(result, allow_nan=False)
    assert result["schema"] == "circuitkit.circuit-sweep/1"
    assert result["parameter"] == PARAMETERS[method]
    assert PARAMETERS[method] not in result["settings"]
    assert list(sweep.frame()["value"]) == list(values)
    assert {stage.split(":")[0] for stage, _, _ in reports} == {f"{PARAMETERS[method]} {v:g}" for v in values}
    for _ in range(2):  # an earlier sweep is replaced
        path = sweep.save(tmp_path / "sweep")
    for value, circuit in zip(values, sweep.circuits, strict=True):
        assert Circuit.load(path / f"{PARAMETERS[method]}-{value:g}").to_dict() == circuit.to_dict()
    assert load_run(path).result["points"] == json.loads(json.dumps(points))
    assert report(path, None).stat().st_size > 0


def test_larger_thresholds_give_smaller_circuits():
    sizes = [point["n_edges"] for point in _swept("acdc", (0.01, 0.1, 1.0), judged="none")[0].points()]
    assert sizes == sorted(sizes, reverse=True)


def test_a_sweep_that_was_not_judged_has_sizes_only():
    sweep, _ = _swept("influence", (3,), judged="none")
    assert sweep.points() == [{"value": 3, "n_nodes": 3, "n_edges": None}]
    json.dumps(sweep.to_dict(), allow_nan=False)


def test_values_that_look_alike_are_kept_apart(tmp_path):
    circuit, values = found_by("acdc"), (0.1, 0.1000000001)
    path = CircuitSweep(parameter="tau", values=values, circuits=(circuit, circuit)).save(tmp_path / "sweep")
    assert sorted(p.name for p in path.iterdir() if p.is_dir()) == ["tau-0.1", "tau-0.1000000001"]


def test_what_is_not_of_a_sweep_is_not_replaced(tmp_path):
    sweep = CircuitSweep(parameter="tau", values=(0.1,), circuits=(found_by("acdc"),))
    path = sweep.save(tmp_path / "sweep")
    (path / "tau-0.1" / "notes.txt").write_text("mine")
    with pytest.raises(ResultError, match=r"tau-0\.1/notes\.txt"):
        sweep.save(path)
    (path / "tau-0.1" / "notes.txt").unlink()
    (path / "more").mkdir()
    with pytest.raises(ResultError, match="more"):
        sweep.save(path)


def test_notices_are_said_once():
    circuit = replace(found_by("acdc"), notices=("one", "two"))
    other = replace(circuit, notices=("two", "three"))
    sweep = CircuitSweep(parameter="tau", values=(0.1, 0.2), circuits=(circuit, other))
    assert sweep.to_dict()["warnings"] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("method", "values", "match"),
    [
        ("acdc", (), r"\(none\)"),
        ("acdc", (0.1, 0.2, 0.1), "each once"),
        ("acdc", (0.1, float("nan")), "nan cannot be a tau"),
        ("eap", (3.0, float("inf")), "inf cannot be a top"),
        ("eap", (2.5,), "2.5 is no number of parts"),
        ("influence", (3, 0), "0 cannot be a top of 'influence'; give values above 0"),
        ("prune", (0.2, 1.0), "1 cannot be a threshold of 'prune'; give values between 0 and 1"),
        ("acdc", (0.1, -0.1), "-0.1 cannot be a tau"),
    ],
)
def test_values_that_cannot_be_are_refused(method, values, match):
    with pytest.raises(OptionError, match=match) as error:
        _swept(method, values, judged="none")
    assert "\n" not in str(error.value)
