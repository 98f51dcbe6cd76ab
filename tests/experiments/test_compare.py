"""Two models side by side: each part is what its own command gives."""

import json
from dataclasses import asdict

import pytest
import torch

from circuitkit.alignment.align import align
from circuitkit.alignment.prompts import shared_batches
from circuitkit.core.errors import OptionError, ResultError
from circuitkit.core.run_directory import load_run
from circuitkit.discovery.circuit import Circuit
from circuitkit.discovery.discover import discover
from circuitkit.discovery.search import SearchOptions
from circuitkit.experiments.compare import compare
from circuitkit.models.loading import load_model
from circuitkit.models.precision import in_float32
from circuitkit.reports.html import report
from circuitkit.tasks.loading import load_task

N = 6
FOUND = {"method": "influence", "options": SearchOptions(threshold=0.3)}


@pytest.fixture(scope="module")
def task():
    return load_task("numerals")


@pytest.fixture(scope="module", params=["toy-distilgpt2", "toy-bert"])
def pair(request):
    """A student of the teacher's own tokenizer, and one of another."""
    return load_model("toy-gpt2", device="cpu"), load_model(request.param, device="cpu")


@pytest.fixture(scope="module")
def reports():
    return []


@pytest.fixture(scope="module")
def result(pair, task, reports):
    return compare(*pair, task, n_prompts=N, bootstrap=30, progress=lambda *report: reports.append(report), **FOUND)


def test_each_part_is_what_its_own_call_gives(pair, task, result, reports):
    batches = shared_batches(*pair, task, n_prompts=N, seed=0, need_corrupted=True)
    assert [p.clean for p in batches[0].pairs] == [p.clean for p in batches[1].pairs]
    for circuit, model, batch in zip((result.teacher, result.student), pair, batches, strict=True):
        assert circuit.to_dict() == discover(model, batch, n_prompts=N, bootstrap=30, **FOUND).to_dict()
        assert circuit.model == model.info
    aligned = align(*pair, task, n_prompts=N, bootstrap=30, fingerprint=False)
    assert result.alignment.to_dict() == aligned.to_dict()
    stages = {stage.split(" ")[0] for stage, _, _ in reports}
    assert {"teacher", "student"} <= stages


def test_json_holds_both(pair, result):
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert found["schema"] == "circuitkit.comparison/1"
    assert found["circuits"]["teacher"] == json.loads(json.dumps(result.teacher.to_dict()))
    assert found["circuits"]["student"]["model"] == json.loads(json.dumps(asdict(pair[1].info)))
    assert found["teacher"]["name"] == "toy-gpt2"
    assert found["settings"]["method"] == "influence"
    assert found["task"]["n_prompts"] == N
    assert found["alignment"]["score"] == result.alignment.scores.score
    assert {"teacher", "student", "compression", "brittleness"} <= set(found["robustness"])
    assert len(set(found["warnings"])) == len(found["warnings"])
    robust = found["robustness"]["teacher"]
    assert robust is None or robust["mean_drop"] is not None


def test_it_is_saved_with_its_parts_and_replaced(result, tmp_path):
    for _ in range(2):
        path = result.save(tmp_path / "both")
        page = report(path, None)
    for side, circuit in (("teacher", result.teacher), ("student", result.student)):
        assert Circuit.load(path / side).to_dict() == circuit.to_dict()
    assert load_run(path / "alignment").result["schema"] == "circuitkit.alignment/1"
    text = page.read_text(encoding="utf-8")
    assert "toy-gpt2" in text
    assert result.student.model.name in text
    (path / "student" / "mine.txt").write_text("mine")
    with pytest.raises(ResultError, match=r"student/mine\.txt"):
        result.save(path)


def test_roles_are_saved_with_their_evidence_and_can_be_left_out(pair, task, result, tmp_path):
    path = result.save(tmp_path / "both")
    for side, found in (("teacher", result.roles.teacher), ("student", result.roles.student)):
        saved = load_run(path / f"{side}-roles", schema="circuitkit.roles/1")
        assert saved.result["roles"] == found.result.to_dict()["roles"]
        assert saved.result["influence"] == load_run(path / "alignment").result["influence"][side]
    assert load_run(path).result["roles"]["ablation"] == "corrupted-mean"
    without = compare(*pair, task, n_prompts=N, bootstrap=30, roles=False, **FOUND)
    assert without.roles is None and without.to_dict()["roles"] is None
    assert without.to_dict()["circuits"] == result.to_dict()["circuits"]
    path = without.save(tmp_path / "both")
    assert not (path / "teacher-roles").exists()
    assert "What the heads do" not in report(path, None).read_text(encoding="utf-8")


def test_a_side_that_does_not_do_the_task_is_named(pair, task):
    random = pair[1].with_random_weights(0)
    with pytest.raises(OptionError, match=r"^In the student: .*not clearly above 0") as error:
        compare(pair[0], random, task, n_prompts=N, bootstrap=0, method="prune", options=SearchOptions(threshold=0.6))
    assert "\n" not in str(error.value)


def test_options_are_checked_before_anything_runs(pair, task):
    with pytest.raises(OptionError, match="does not take --tau"):
        compare(*pair, task, method="prune", options=SearchOptions(tau=0.1))
    with pytest.raises(OptionError, match="unknown"):
        compare(*pair, task, method="guess")
    with pytest.raises(OptionError, match="'some' unknown"):
        compare(*pair, task, n_prompts=N, judged="some")


def test_it_goes_on_where_it_was(pair, task, result, tmp_path, monkeypatch):
    """Interrupted before models are aligned, the circuits are read back."""

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("circuitkit.experiments.compare.align", stop)
        compare(*pair, task, n_prompts=N, bootstrap=30, resume=tmp_path, **FOUND)
    again = compare(*pair, task, n_prompts=N, bootstrap=30, resume=tmp_path, **FOUND)
    assert again.to_dict() == result.to_dict()


def test_circuits_of_16_bit_models_are_found_in_float32_and_aligned_in_theirs(task):
    pair = [load_model(name, device="cpu", dtype="bfloat16") for name in ("toy-gpt2", "toy-distilgpt2")]
    found = compare(*pair, task, n_prompts=N, bootstrap=10, **FOUND)
    batches = shared_batches(*pair, task, n_prompts=N, seed=0, need_corrupted=True)
    for circuit, model, batch in zip((found.teacher, found.student), pair, batches, strict=True):
        wanted = discover(in_float32(model), batch, n_prompts=N, bootstrap=10, **FOUND)
        assert circuit.to_dict() == wanted.to_dict()
        assert circuit.made_with["dtype"] == "float32"
        assert model.dtype == torch.bfloat16
    assert found.alignment.to_dict() == align(*pair, task, n_prompts=N, bootstrap=10, fingerprint=False).to_dict()
    assert found.alignment.made_with["dtype"] == "bfloat16"
    assert any("float32 arithmetic on its weights as stored in bfloat16" in w for w in found.warnings)
    rounded = compare(*pair, task, n_prompts=N, bootstrap=10, as_loaded=True, **FOUND)
    assert rounded.teacher.made_with["dtype"] == rounded.student.made_with["dtype"] == "bfloat16"
