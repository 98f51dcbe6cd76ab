"""Effective numbers by hand, and what the notebooks' printed values give."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from study_pairs import make_pair, printed_influence

from circuitkit.alignment.align import align
from circuitkit.experiments.experiment import run_study
from circuitkit.experiments.reliance import compare_reliance, effective_number, reliance


@pytest.mark.parametrize(
    ("drops", "wanted"), [([2.0, 2.0, 2.0], 3.0), ([5.0, 0.0], 1.0), ([0.0, 0.0], 0.0), ([3.0, 1.0], 1.6)]
)
def test_effective_numbers_by_hand(drops, wanted):
    assert float(effective_number(torch.tensor(drops))) == pytest.approx(wanted)


def test_printed_values_give_table_2():
    teacher, student = printed_influence("gpt2"), printed_influence("distilgpt2")
    sides = [reliance(who, side) for who, side in (("teacher", teacher), ("student", student))]
    assert [f"{one.mean_drop.value:.4f}" for one in sides] == ["3.0561", "12.2401"]
    gap = compare_reliance(teacher, student, seed=0)
    assert f"{gap.mean_drop.value:.4f}" == "9.1840"
    assert gap.beyond_count.value == pytest.approx(12.2401 - 2 * 3.0561, abs=2e-4)
    by_hand = []
    for side in (teacher, student):
        drops = np.clip(100 - 100 * side.ablated.double().mean(1).numpy() / float(side.clean.double().mean()), 0, 100)
        by_hand.append(drops.sum() ** 2 / (drops**2).sum())
    assert gap.effective.value == pytest.approx(by_hand[1] - by_hand[0], rel=1e-5)
    assert gap.mean_drop.ci95 == pytest.approx((9.184, 9.184), abs=2e-4)  # every prompt has the same percentages


def test_a_model_is_no_more_concentrated_than_itself():
    teacher = printed_influence("gpt2")
    gap = compare_reliance(teacher, teacher, seed=0)
    assert (gap.mean_drop.value, gap.beyond_count.value, gap.effective.value) == (0.0, 0.0, 0.0)
    assert gap.thinned == pytest.approx(reliance("teacher", teacher).effective.value)
    assert gap.thinned_p > 0.05


def test_nothing_is_said_of_a_model_that_cannot_do_the_task():
    teacher, student = printed_influence("gpt2"), printed_influence("distilgpt2")
    gap = compare_reliance(teacher, replace(student, clean=-student.clean), seed=0)
    assert gap.mean_drop.value is None
    assert gap.thinned_p is None


def test_the_study_holds_align_and_the_student_before_distillation():
    pair = make_pair()
    study = run_study("reliance", [pair])
    rows = study.frame("models").set_index("model")
    alone = align(pair.teacher_model, pair.student_model, pair.task, n_prompts=24, bootstrap=50, fingerprint=False)
    for who in ("teacher", "student"):
        kept = getattr(alone.robustness, who)
        assert rows.loc[who, "mean_drop"] == pytest.approx(kept.mean_drop)
        assert rows.loc[who, "mean_drop_ci95"] == pytest.approx(kept.ci95)
        assert rows.loc[who, "over_10"] == pytest.approx(kept.over_10)
    assert rows.loc["before", "logit_diff"] == pytest.approx(alone.control.logit_diff)
    assert len(study.findings) == 1
