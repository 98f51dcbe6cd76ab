"""The threshold study is `discover` at each threshold, in both models."""

import pytest
from study_pairs import make_pair

from circuitkit.core.errors import OptionError
from circuitkit.discovery.discover import discover
from circuitkit.experiments.experiment import experiment, run_study
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.models.loading import load_model
from circuitkit.tasks.loading import load_task

VALUES = (0.2, 0.5)


def test_every_circuit_is_a_separate_search():
    pair = make_pair(n_prompts=10, bootstrap=20)
    study = run_study("threshold", [pair], StudyOptions(levels=VALUES))
    rows = study.frame("circuits").set_index(["model", "threshold"])
    assert len(rows) == 4
    for who, model, batch in zip(
        ("teacher", "student"), (pair.teacher_model, pair.student_model), pair.batches, strict=True
    ):
        for value in VALUES:
            alone = discover(model, batch, method="prune", threshold=value, bootstrap=20)
            row = rows.loc[(who, value)]
            assert row["n_nodes"] == len(alone.nodes)
            assert row["share"] == len(alone.nodes) / len(model.components)
            assert row["nodes"] == " ".join(map(str, alone.nodes))
            assert row["faithfulness"] == alone.faithfulness["faithfulness"]
            assert row["ci95"] == tuple(alone.faithfulness["ci95"]["faithfulness"])
    assert study.tasks[0]["n_prompts"] == 10
    assert study.figures["quality"].series[0].low is not None


def test_many_prompts_are_cut_to_what_a_search_takes():
    pair = make_pair(n_prompts=80, bootstrap=0, task="numerals")
    study = run_study("threshold", [pair], StudyOptions(levels=(0.5,)))
    assert study.tasks[0]["n_prompts"] == study.settings["n_prompts"] == 64
    assert study.notices[0].startswith("80 prompts were asked for; circuits were searched and judged on the first 64")
    assert "has " in study.findings[0] and "goes from" not in study.findings[0]  # one threshold leads nowhere


def test_models_of_many_components_are_searched_on_few_prompts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("circuitkit.experiments.threshold.MANY_COMPONENTS", 19)  # the teacher has 20
    pair = make_pair(n_prompts=20, bootstrap=0, task="numerals")
    study = run_study("threshold", [pair], StudyOptions(levels=(0.5,)))
    assert study.settings["n_prompts"] == 16
    assert study.notices[0].startswith("20 prompts were asked for; circuits were searched and judged on the first 16")


def test_circuits_of_16_bit_models_are_found_in_the_arithmetic_that_is_asked_for():
    models = [load_model(name, device="cpu", dtype="bfloat16") for name in ("toy-gpt2", "toy-distilgpt2")]
    for as_loaded in (True, False):
        study = experiment(
            "threshold", *models, load_task("months"), n_prompts=8, bootstrap=0, levels=(0.5,), as_loaded=as_loaded
        )
        found_in_float32 = any("found in float32 arithmetic" in notice for notice in study.notices)
        assert study.settings["as_loaded"] == as_loaded == (not found_in_float32)


def test_bad_searches_are_refused_in_one_line():
    pair = make_pair(n_prompts=8, bootstrap=0)
    with pytest.raises(OptionError, match="no threshold to sweep; choose one of prune, path-patching"):
        run_study("threshold", [pair], StudyOptions(search="acdc"))
    with pytest.raises(OptionError, match=r"In the teacher: 1\.5 cannot be a threshold"):
        run_study("threshold", [pair], StudyOptions(levels=(1.5,)))


def test_a_student_that_cannot_do_the_task_is_refused_before_any_search(monkeypatch: pytest.MonkeyPatch):
    pair = make_pair("toy-gpt2", "toy-gpt2", n_prompts=8, bootstrap=0)
    searched: list[str] = []
    monkeypatch.setattr("circuitkit.experiments.threshold.discover", lambda *_, **__: searched.append("once"))
    true = pair.student_model.answer_logits
    monkeypatch.setattr(pair.student_model, "answer_logits", lambda *a, **k: -true(*a, **k))
    with pytest.raises(OptionError, match="In the student: Circuits keep a share .* not clearly above 0"):
        run_study("threshold", [pair], StudyOptions(levels=(0.5,)))
    assert not searched
