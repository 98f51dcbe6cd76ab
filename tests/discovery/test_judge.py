"""The one call against its parts, the JSON it gives, and what it costs."""

import json

import pytest
import torch
from answerable import answerable_batch

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.discovery.circuit_runs import CircuitRuns
from circuitkit.discovery.completeness import completeness
from circuitkit.discovery.curve import SIZES, curve
from circuitkit.discovery.faithfulness import faithfulness
from circuitkit.discovery.judge import judge
from circuitkit.discovery.minimality import minimality
from circuitkit.interventions.circuit_runner import CircuitRunner

NODES = [Component(0, 1), Component(1, 2), Component(0), Component(1)]


@pytest.fixture
def runner(tiny_models) -> CircuitRunner:
    model = tiny_models["gpt2"]
    return CircuitRunner(model, answerable_batch(model, [[6, 6, 6]]), metrics=("logit_diff", "kl", "top1"))


def close(one: object, other: object) -> bool:
    """Equal but for rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    return one == (pytest.approx(other, abs=1e-4) if isinstance(other, float) else other)


def test_gathers_its_parts(runner):
    kept, scores = runner.space.of_nodes(NODES), torch.randn(len(runner.model.components))
    options = {"kind": "nodes", "bootstrap": 20, "seed": 2}
    found = judge(runner, kept, scores=scores, n_subsets=3, **options)
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    expected = {
        **faithfulness(runner, kept, **options).to_dict(),
        "completeness": completeness(runner, kept, n_subsets=3, **options).to_dict(),
        "minimality": minimality(runner, kept, **options).to_dict(),
        "curve": curve(runner, scores, **options).to_dict(),
        "evaluations": found.evaluations,
    }
    assert close(record, json.loads(json.dumps(expected)))
    plain = ("model_logit_diff", "corrupted_logit_diff", "circuit_logit_diff", "complement_logit_diff", "faithfulness")
    assert all(isinstance(record[name], float) and len(record["ci95"][name]) == 2 for name in plain)
    assert record["curve"]["sizes"] == list(SIZES)
    # nothing, circuit, complement; two a subset; two a node; the curve: at most one a size and order
    assert found.evaluations <= 3 + 2 * 3 + 2 * len(NODES) + 2 * len(SIZES)


def test_parts_are_left_out_and_warnings_gathered(runner):
    found = judge(runner, runner.space.possible, n_subsets=0, most_removed=0, bootstrap=0)
    record = found.to_dict()
    assert (record["completeness"], record["minimality"], record["curve"], found.evaluations) == (None, None, None, 2)
    some = judge(runner, runner.space.possible, n_subsets=0, most_removed=2, bootstrap=0)
    assert some.warnings == (
        f"Minimality was measured for 2 of the circuit's {runner.space.n_edges} edges, drawn at random.",
    )
    with pytest.raises(OptionError, match="-3 subsets"):
        judge(runner, runner.space.possible, n_subsets=-3)


def test_stages_and_shared_runs(runner):
    told: list[tuple[str, int, int]] = []
    kept = runner.space.of_nodes(NODES)
    runs = CircuitRuns(runner=runner, progress=lambda *now: told.append(now))
    scores = torch.zeros(len(runner.model.components))
    first = judge(runs, kept, kind="nodes", scores=scores, n_subsets=2, bootstrap=0)
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["faithfulness", "completeness", "minimality", "curve"]
    ends = {stage: (done, total) for stage, done, total in told}
    assert all(done == total for done, total in ends.values())
    assert ends["faithfulness"] == (3, 3) and ends["completeness"] == (4, 4) and ends["minimality"] == (9, 9)
    assert judge(runs, kept, kind="nodes", scores=scores, n_subsets=2, bootstrap=0).evaluations == 0
    assert first.evaluations == runs.n_run
