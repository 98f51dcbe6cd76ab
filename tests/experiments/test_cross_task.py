"""The cross-task study is several alignments and nothing else."""

import json

import numpy as np
import pytest
from study_pairs import make_pair

from circuitkit.alignment.align import align
from circuitkit.core.errors import TaskError
from circuitkit.experiments.experiment import experiment, run_study
from circuitkit.experiments.study import Study

TASKS = ("ioi", "numerals")


@pytest.fixture(scope="module")
def pairs():
    return [make_pair(task=task) for task in TASKS]


@pytest.fixture(scope="module")
def study(pairs):
    return run_study("cross-task", pairs)


def test_every_row_is_a_separate_alignment(pairs, study):
    rows = study.frame("tasks").set_index("task")
    assert tuple(rows.index) == TASKS
    for pair in pairs:
        alone = align(pair.teacher_model, pair.student_model, pair.task, n_prompts=24, bootstrap=50, fingerprint=False)
        row = rows.loc[pair.task.name]
        assert row["score"] == alone.score
        assert row["ci95"] == alone.scores.ci95
        assert row["null"] == alone.scores.shuffle.mean
        assert row["calibrated"] == alone.scores.calibrated
        assert row["before"] == alone.control.score
        assert row["circuit_alignment"] == alone.scores.circuit_alignment
        assert row["teacher_drop"] == alone.robustness.teacher.mean_drop
        assert row["student_drop"] == alone.robustness.student.mean_drop
        assert {f"{pair.task.name}: {w}" for w in alone.warnings} <= set(study.notices)


def test_logit_differences_of_table_3(pairs, study):
    """Teacher minus student, and the mean of both; intervals hold the value and are those of paired prompts."""
    rows = study.frame("tasks").set_index("task")
    for pair in pairs:
        t, s = pair.teacher.clean.double().numpy(), pair.student.clean.double().numpy()
        row = rows.loc[pair.task.name]
        assert row["delta"] == pytest.approx(t.mean() - s.mean())
        assert row["mean"] == pytest.approx((t.mean() + s.mean()) / 2)
        rng = np.random.default_rng(0)
        drawn = [(t - s)[rng.integers(len(t), size=len(t))].mean() for _ in range(2000)]
        spread = np.quantile(drawn, 0.975) - np.quantile(drawn, 0.025)
        assert row["delta_ci95"][0] < row["delta"] < row["delta_ci95"][1]
        assert row["delta_ci95"][1] - row["delta_ci95"][0] == pytest.approx(spread, rel=0.4)


def test_two_tasks_of_one_name_are_refused(pairs):
    with pytest.raises(TaskError, match="called 'ioi'"):
        run_study("cross-task", [pairs[0], pairs[0]])


def test_the_call_with_models_gives_the_same_and_is_read_back(pairs, study, tmp_path):
    first = pairs[0]
    whole = experiment(
        "cross-task",
        first.teacher_model,
        first.student_model,
        [pair.task for pair in pairs],
        n_prompts=24,
        bootstrap=50,
    )
    assert whole.to_dict() == study.to_dict()
    path = study.save(tmp_path / "run")
    assert Study.load(path).to_dict() == study.to_dict()
    assert json.loads((path / "result.json").read_text())["schema"] == "circuitkit.experiment/1"
