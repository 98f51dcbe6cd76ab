import copy

import fake_run
import pytest

from circuitkit.reports.alignment_record import AlignmentRecord
from circuitkit.reports.key_figures import key_figures
from circuitkit.reports.numerals import count, fixed, interval, p_value, with_interval
from circuitkit.reports.records import InfluenceRecord, read_record
from circuitkit.reports.verdict import alignment_verdict, influence_verdict, table_verdict


@pytest.fixture
def result():
    return copy.deepcopy(fake_run.alignment_result())


def headline(result):
    return alignment_verdict(read_record(AlignmentRecord, result)).headline


def test_score_above_its_null_is_said_with_the_null(result):
    result["alignment"] |= {"score": 0.49, "ci95": [0.45, 0.53]}
    result["alignment"]["null"]["shuffle"] |= {"mean": 0.42, "p": 0.001}
    assert headline(result) == (
        "On ioi, toy-distilgpt2 scores 0.49 of 1 in alignment with toy-gpt2, more than shuffled influences give (0.42)."
    )


def test_score_within_its_null_is_not_called_more(result):
    result["alignment"]["null"]["shuffle"] |= {"mean": 0.38, "p": 0.2}
    assert "no more than shuffled influences give (0.38)" in headline(result)


def test_random_students_stand_in_where_nothing_was_shuffled(result):
    result["alignment"]["null"]["shuffle"] = None
    assert "more than students with random weights score (0.06)" in headline(result)
    result["alignment"]["null"]["random_student"]["scores"][0] = 0.99
    assert "not clearly more than students with random weights" in headline(result)


def test_missing_null_is_said(result):
    result["alignment"] |= {"null": {"shuffle": None, "random_student": None}, "calibrated": None}
    assert headline(result).endswith(", with no null to compare it with.")


@pytest.mark.parametrize(
    ("unable", "wanted"),
    [
        (["student"], "toy-distilgpt2 cannot be shown to do ioi"),
        (["teacher"], "toy-gpt2 cannot be shown to do ioi"),
        (["teacher", "student"], "Neither toy-gpt2 nor toy-distilgpt2 can be shown to do ioi"),
    ],
)
def test_inability_comes_before_any_score(result, unable, wanted):
    for who in unable:
        result["robustness"][who] = None
    assert headline(result).startswith(wanted)
    assert headline(result).endswith("is no evidence of a shared mechanism.")


def test_paths_are_shortened_in_sentences_unless_that_confuses_them(result):
    result["teacher"]["name"], result["student"]["name"] = "/data/models/big/", "org/small"
    assert "small scores" in headline(result) and "alignment with big," in headline(result)
    result["teacher"]["name"], result["student"]["name"] = "runs/a/model", "runs/b/model"
    assert "runs/b/model scores" in headline(result)


def test_caution_is_always_there(result):
    verdict = alignment_verdict(read_record(AlignmentRecord, result))
    assert "A alone cannot tell a broken copy from a good one" in verdict.caution


def test_results_without_intervals_say_so(result):
    result["alignment"]["ci95"] = result["student_logit_diff"]["ci95"] = None
    record = read_record(AlignmentRecord, result)
    assert "interval" not in alignment_verdict(record).support[1]
    assert any(key.note == "no interval computed" for key in key_figures(record))


def test_several_tasks_count_only_those_that_both_models_do():
    tasks = fake_run.table_result()["tasks"]
    verdict = table_verdict([read_record(AlignmentRecord, part) for part in tasks.values()])
    assert verdict.headline.startswith("On the 2 tasks that both models do, toy-distilgpt2 scores ")
    assert any("cannot be shown to do months" in sentence for sentence in verdict.support)


def test_influence_names_the_largest_drop():
    record = read_record(InfluenceRecord, fake_run.influence_result())
    best = max(record.influence, key=lambda name: record.influence[name].drop)
    assert f"{best} of toy-gpt2 matters most" in influence_verdict(record).headline
    weak = {**fake_run.influence_result(), "logit_diff": {"mean": 0.1, "ci95": [-0.2, 0.3]}}
    assert "cannot be shown to do ioi" in influence_verdict(read_record(InfluenceRecord, weak)).headline


def test_numbers_are_written_as_printed_papers_write_them():
    assert [fixed(-0.004), fixed(-1.5, 1), fixed(2.0)] == ["0.00", "\u22121.5", "2.00"]
    assert interval((-0.1, 0.25)) == "\u22120.10 to 0.25"
    assert with_interval(0.5, None) == "0.50"
    assert count(1234567) == "1\u202f234\u202f567"
    assert p_value(0.0001) == "p\u00a0<\u00a00.001" and p_value(0.25) == "p\u00a0=\u00a00.25"
