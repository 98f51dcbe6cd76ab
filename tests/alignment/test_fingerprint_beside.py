"""F beside A: the block in the result, what it is when prompts are few or lack counterfactuals, and resuming."""

import itertools
import json

import pytest
import torch
from tiny_models import build_raw

from circuitkit.alignment.align import align
from circuitkit.alignment.fingerprint import fingerprint
from circuitkit.alignment.fingerprint_beside import patched_runs
from circuitkit.alignment.result import AlignmentResult
from circuitkit.interventions import engine
from circuitkit.models.embedded import embedded_path
from circuitkit.models.loading import load_model, wrap_model
from circuitkit.tasks.loading import load_task

OPTIONS = {"n_prompts": 12, "fingerprint_prompts": 8, "bootstrap": 20}


@pytest.fixture(scope="module")
def pair(tiny_models):
    teacher = tiny_models["gpt2"]
    raw = build_raw("gpt2", vocab_size=teacher.info.vocab_size, n_layers=2, seed=5)
    return teacher, wrap_model(raw, teacher.tokenizer, name="student")


@pytest.fixture(scope="module")
def result(pair):
    return align(*pair, load_task("numerals"), **OPTIONS)


def rows(n=8, *, corrupted=True):
    names = "Mary John Tom James".split()
    for a, b in itertools.islice(itertools.permutations(names, 2), n):
        row = {"clean": f"When {a} and {b} went to the store, {b} gave a ring to", "correct": f" {a}"}
        other = {"corrupted": "When Dan and Sid went to the store, Paul gave a ring to"} if corrupted else {}
        yield row | other | {"incorrect": f" {b}"}


def own_task(folder, **options):
    file = folder / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(**options)))
    return load_task(file)


def test_block_holds_the_contract(result):
    block = json.loads(json.dumps(result.to_dict()["fingerprint"], allow_nan=False))
    for form in ("F", "one_to_one", "profile", "ceiling"):
        assert set(block[form]) == {"score", "ci95"}
        assert block[form]["ci95"][0] <= block[form]["score"] <= block[form]["ci95"][1]
    assert set(block["nulls"]["shuffled"]) == {"mean", "ci95", "p", "n"}
    assert block["kinds"] == ["random", "shifted", "last", "nouns"]
    assert {"n1", "END", "rest"} <= set(block["groups"])
    for side, n in (("teacher", 15), ("student", 10)):
        assert len(block["fingerprints"][side]) == n
        assert set(block["fingerprints"][side]["MLP0"]) == set(block["kinds"])
    assert set(block["pairs"]) == set(block["fingerprints"]["teacher"])
    assert block["task"]["n_prompts"] == 8 and block["dropped"] == []
    assert block["screen"] is None
    assert block["reading"] == result.reading
    assert {"merged", "notices", "noise", "patched_runs_at_most"} <= set(block)
    assert block["patched_runs_at_most"]["teacher"] == 15 * 4 * len(block["groups"]) * 8
    settings = result.to_dict()["settings"]
    assert (settings["fingerprint"], settings["fingerprint_components"], settings["fingerprint_prompts"]) == (
        True, "auto", 8,
    )  # fmt: skip


def test_it_is_the_comparison_of_fingerprints_itself(result, pair):
    alone = fingerprint(*pair, load_task("numerals"), n_prompts=8, bootstrap=20)
    assert alone.scores == result.fingerprint.scores
    assert alone.nulls == result.fingerprint.nulls
    torch.testing.assert_close(alone.student.effects, result.fingerprint.student.effects, rtol=0, atol=0)


def test_same_numbers_again_and_A_does_not_depend_on_it(result, pair):
    again = align(*pair, load_task("numerals"), **OPTIONS)
    assert again.to_dict() == result.to_dict()
    without = align(*pair, load_task("numerals"), **OPTIONS, fingerprint=False)
    assert without.fingerprint is None and without.reading is None
    assert without.to_dict()["fingerprint"] is None
    assert without.scores == result.scores
    assert without.warnings == result.warnings


@pytest.mark.parametrize("components", ["all", "top:3"])
def test_saved_and_read_back(result, pair, tmp_path, components):
    made = align(*pair, load_task("numerals"), **OPTIONS, fingerprint_components=components)
    read = AlignmentResult.load(made.save(tmp_path / "run"))
    assert json.loads(json.dumps(read.to_dict())) == json.loads(json.dumps(made.to_dict()))
    assert read.fingerprint.scores == made.fingerprint.scores
    torch.testing.assert_close(read.fingerprint.teacher.effects, made.fingerprint.teacher.effects, rtol=0, atol=0)
    assert patched_runs(read.fingerprint) == patched_runs(made.fingerprint)


def test_one_corrupted_prompt_only_is_one_kind_and_said(pair, tmp_path):
    found = align(*pair, own_task(tmp_path), **OPTIONS)
    assert found.fingerprint.teacher.kinds == ("corrupted",)
    assert any("one counterfactual kind only" in notice for notice in found.fingerprint.notices)


def test_without_corrupted_prompts_there_is_no_F_and_why_is_said(pair, tmp_path):
    found = align(*pair, own_task(tmp_path, corrupted=False), **OPTIONS, ablation="mean")
    assert found.fingerprint is None
    (said,) = [
        warning for warning in found.warnings if warning.startswith("F, the fingerprint score, was not computed")
    ]
    assert "counterfactual" in said or "corrupted" in said


def test_few_prompts_give_no_F_and_why_is_said(pair):
    found = align(*pair, load_task("numerals"), n_prompts=3, bootstrap=0)
    assert found.fingerprint is None
    assert "F, the fingerprint score, was not computed: it needs 4 prompts or more." in found.warnings


def test_no_null_means_none_for_F(pair):
    found = align(*pair, load_task("numerals"), **OPTIONS | {"bootstrap": 0}, null="none")
    assert found.to_dict()["fingerprint"]["nulls"] == {}
    assert found.to_dict()["fingerprint"]["F"]["ci95"] is None


def test_other_tokenizer_family_and_width():
    models = [load_model(embedded_path(name)) for name in ("toy-gpt2", "toy-bert")]
    found = align(*models, load_task("ioi"), n_prompts=16, fingerprint_prompts=8, bootstrap=0, controls=False)
    same = align(models[0], models[0], load_task("ioi"), n_prompts=8, bootstrap=0, controls=False)
    assert same.fingerprint.F == pytest.approx(1, abs=1e-6)
    assert 0 < found.fingerprint.F < 0.6
    assert found.fingerprint.teacher.groups == found.fingerprint.student.groups
    assert found.fingerprint.teacher.prompt_index == found.fingerprint.student.prompt_index


def test_finished_shards_of_fingerprints_are_reused(pair, tmp_path, monkeypatch):
    true_shard, counted = engine._prompts, []
    monkeypatch.setattr(engine, "_prompts", lambda *a, **k: counted.append(1) or true_shard(*a, **k))
    first = align(*pair, load_task("numerals"), **OPTIONS, resume=tmp_path)
    assert counted
    counted.clear()
    assert align(*pair, load_task("numerals"), **OPTIONS, resume=tmp_path).to_dict() == first.to_dict()
    assert not counted


def test_large_models_get_fingerprints_when_asked(pair, monkeypatch):
    largest = max(len(model.components) for model in pair)
    monkeypatch.setattr("circuitkit.alignment.fingerprint_beside.MOST_WHOLE", largest - 1)
    found = align(*pair, load_task("numerals"), **OPTIONS)
    assert found.fingerprint is None
    assert f"with {largest} heads and MLPs it may take longer" in found.warnings[-1]
    asked = align(*pair, load_task("numerals"), **OPTIONS, fingerprint_components="top:3")
    assert asked.fingerprint is not None and len(asked.fingerprint.teacher.components) == 3
