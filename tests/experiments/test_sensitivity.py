"""Sensitivity: each cell is a separate alignment; rankings are reported as they are."""

import math

import pytest
from scipy.stats import spearmanr
from study_pairs import make_pair

from circuitkit.alignment.align import align
from circuitkit.experiments.experiment import run_study
from circuitkit.experiments.sensitivity import ranking_agreement
from circuitkit.interventions import engine


@pytest.fixture(scope="module")
def pair():
    return make_pair()


@pytest.fixture(scope="module")
def study(pair):
    return run_study("sensitivity", [pair])


def test_every_cell_is_a_separate_alignment(pair, study):
    cells = study.frame("cells").set_index(["normalize", "matching"])
    assert len(cells) == 9
    for (normalize, matching), row in cells.iterrows():
        alone = align(
            pair.teacher_model,
            pair.student_model,
            pair.task,
            n_prompts=24,
            fingerprint=False,
            bootstrap=50,
            normalize=normalize,
            matching=matching,
            controls=False,
        )
        assert row["score"] == pytest.approx(alone.score, abs=1e-6)
        assert row["ci95"] == pytest.approx(alone.scores.ci95, abs=1e-6)
        assert row["null"] == pytest.approx(alone.scores.shuffle.mean, abs=1e-6)
        assert row["p"] == alone.scores.shuffle.p
        assert row["circuit_alignment"] == pytest.approx(alone.scores.circuit_alignment, abs=1e-6)


def test_ranks_are_those_of_the_scores(study):
    cells = study.frame("cells")
    assert sorted(cells["rank"]) == list(range(1, 10))
    assert cells.sort_values("rank")["score"].is_monotonic_decreasing
    best = cells.sort_values("rank").iloc[0]
    assert f"{best['normalize']}+{best['matching']} {best['score']:.3f}, " in study.findings[0]


def test_components_are_ranked_by_what_they_contribute(pair, study):
    """max+greedy against l2+greedy: from the pairs' frames of two alignments."""
    sides = []
    for normalize in ("max", "l2"):
        frame = align(
            pair.teacher_model,
            pair.student_model,
            pair.task,
            n_prompts=24,
            fingerprint=False,
            bootstrap=0,
            normalize=normalize,
            null="none",
        ).pairs_frame()
        sides.append(frame.set_index("teacher")["contribution"].sort_index())
    agreement = study.frame("agreement").set_index(["one", "other"])["components ioi"]
    assert agreement["max+greedy", "l2+greedy"] == pytest.approx(spearmanr(*sides).statistic, abs=1e-9)


def test_no_model_runs_for_another_cell(pair, study, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a model was run again")

    for model in (pair.teacher_model, pair.student_model):
        monkeypatch.setattr(model, "capture", refuse)
        monkeypatch.setattr(model, "answer_logits", refuse)
    monkeypatch.setattr(engine, "run_interventions", refuse)
    again = run_study("sensitivity", [pair])
    assert again.to_dict() == study.to_dict()


def test_agreement_of_rankings_by_hand():
    scores = {
        "a": {"x": 1.0, "y": 2.0, "z": 3.0},
        "b": {"x": 5.0, "y": 6.0, "z": 9.0},
        "c": {"x": 3.0, "y": 2.0, "z": 1.0},
        "d": {"x": 1.0, "y": 1.0, "z": 1.0},
    }
    found = ranking_agreement(scores)
    assert found["a", "b"] == pytest.approx(1)
    assert found["a", "c"] == pytest.approx(-1)
    assert math.isnan(found["a", "d"])
    assert ranking_agreement({"a": {"x": 1.0, "y": 2.0}, "b": {"x": 1.0, "y": 2.0}}) is None


def test_warnings_name_their_task_where_there_are_several():
    pairs = [make_pair(task=name, n_prompts=4, bootstrap=0) for name in ("ioi", "months")]
    notices = run_study("sensitivity", pairs).notices
    assert notices and all(notice.startswith(("ioi: ", "months: ")) for notice in notices)
