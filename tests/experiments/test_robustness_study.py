"""Robustness: the paper's figures from the notebooks' values, and the histogram by hand."""

import pytest
import torch
from study_pairs import make_pair, printed_influence

from circuitkit.alignment.robustness import measure_robustness
from circuitkit.experiments.experiment import run_study
from circuitkit.experiments.robustness_tables import expected_by_size, histogram_table, summary_table


@pytest.fixture(scope="module")
def printed():
    return printed_influence("gpt2"), printed_influence("distilgpt2")


def test_table_2_of_the_paper(printed):
    robust = measure_robustness(*printed, weights=printed[0].weights())
    rows = summary_table(robust, *printed).frame().set_index("quantity")
    assert f"{rows.loc['mean drop', 'teacher']:.4f}" == "3.0561"
    assert f"{rows.loc['mean drop', 'student']:.4f}" == "12.2401"
    assert f"{rows.loc['mean drop, student − teacher', 'student']:.3f}" == "9.184"
    assert rows.loc["compression C", "student"] == pytest.approx(0.339)
    assert rows.loc["brittleness (student − teacher) / C", "student"] == pytest.approx(9.184 / 0.339, abs=1e-3)
    only_size = rows.loc["mean drop, if only the number of components changed", "student"]
    assert only_size == pytest.approx(3.0561 * 156 / 78, abs=1e-4)
    assert rows.loc["components", "teacher"] == 156
    beyond = rows.loc["mean drop, beyond the number of components", "student"]
    assert beyond == pytest.approx(12.2401 - 2 * 3.0561, abs=1e-3)


def test_histogram_counts_every_component_once(printed):
    table = histogram_table(*printed).frame().set_index("drop")
    drops = [100 - side.ablated.double().mean(1) / side.clean.double().mean() * 100 for side in printed]
    for who, side in zip(("teacher", "student"), drops, strict=True):
        assert table[who].sum() == len(side)
        assert table[f"{who}_share"].sum() == pytest.approx(1)
        over_10 = table.loc[["10 to 20", "20 to 50", "50 to 100"], who].sum()
        assert over_10 == int((side > 10).sum())
        assert table.loc["0 or helped by the loss", who] == int((side <= 0).sum())


def test_more_components_with_the_same_total_are_no_sturdier():
    assert expected_by_size(4.0, 20, 10) == 8.0
    assert expected_by_size(4.0, 10, 10) == 4.0


def test_of_a_pair_it_is_what_the_measure_gives():
    pair = make_pair(task="numerals")
    study = run_study("robustness", [pair])
    robust = measure_robustness(pair.teacher, pair.student, weights=pair.teacher.weights())
    rows = study.frame("summary").set_index("quantity")
    assert rows.loc["mean drop", "student"] == robust.student.mean_drop
    assert rows.loc["mean drop", "teacher_ci95"] == robust.teacher.ci95
    gap = rows.loc["mean drop, student − teacher"]
    assert gap["student"] == pytest.approx(robust.student.mean_drop - robust.teacher.mean_drop)
    scaled = [end * robust.compression for end in robust.brittleness_ci95]
    assert gap["student_ci95"] == pytest.approx(scaled)
    parts = study.frame("components").groupby("model").size()
    assert dict(parts) == {"student": 10, "teacher": 20}


def test_a_student_that_cannot_do_the_task_has_no_percentages():
    pair = make_pair()
    random = pair.student_model.with_random_weights(0)
    study = run_study("robustness", [type(pair)(**{**vars_of(pair), "student_model": random})])
    rows = study.frame("summary").set_index("quantity")
    assert rows["student"]["mean drop"] is None or torch.tensor(rows["student"]["mean drop"]).isnan()
    assert "not clear that the student can do the task, so that percentages of its answer" in study.findings[0]
    assert any("does not do this task" in notice for notice in study.notices)


def vars_of(pair):
    return {name: getattr(pair, name) for name in type(pair).__dataclass_fields__}
