"""What the page of a comparison says of roles, against a result written by hand."""

import copy

import fake_circuit
import pytest
from html_page import Page

from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import save_run
from circuitkit.reports.html import report
from circuitkit.reports.records import read_record
from circuitkit.reports.role_comparison import roles_in_words, what_happened
from circuitkit.reports.role_comparison_record import ComparedRoles


def record(change=lambda r: None):
    result = copy.deepcopy(fake_circuit.compared_roles())
    change(result)
    return read_record(ComparedRoles, result)


def page(tmp_path, change=lambda r: None):
    result = copy.deepcopy(fake_circuit.RESULTS["comparison with roles"]())
    change(result)
    return Page(report(save_run(tmp_path / "run", result, {}, {})).read_text(encoding="utf-8"))


def test_sentences():
    assert roles_in_words(record()) == (
        "Both models have name-mover heads.",
        "No head of the student can be shown to have induction heads, which the teacher has.",
        "The student alone has copy heads.",
        "Merged: L2H1 and L3H4 of the teacher (name-mover) in L1H2 of the student.",
        "The student clearly loses more than the teacher without name-mover heads.",
        "Without its induction heads the teacher does clearly better, not worse.",
    )
    assert roles_in_words(None) == ()
    assert roles_in_words(record(lambda r: r.update(roles={}))) == (
        "No head of either model can be shown to have any of the tested roles.",
    )
    assert roles_in_words(record(lambda r: r.update(roles={}, tested={"teacher": [], "student": []}))) == (
        "No role could be tested in either model.",
    )


def test_roles_that_may_hurt_say_what_they_do(tmp_path):
    def sign(result):
        result["roles"]["name-mover"] |= {
            "helps": False, "effects": {"teacher": {"L2H1": "hurts", "L3H4": "hurts"}, "student": {"L1H2": "helps"}}
        }  # fmt: skip

    roles = record(sign)
    assert "name-mover heads hurt the teacher and help the student." in roles_in_words(roles)
    assert roles.roles["name-mover"].told("teacher") == ("L2H1 (hurts)", "L3H4 (hurts)")
    assert roles.roles["name-mover"].told("student") == ("L1H2 (helps)",)
    assert record().roles["name-mover"].told("student") == ("L1H2",)
    assert "L1H2 (helps)" in " ".join(page(tmp_path, lambda r: sign(r["roles"])).text)


def test_a_difference_whose_interval_holds_0_is_not_clear():
    def blur(result):
        result["roles"]["name-mover"]["reliance"]["difference"]["points_ci95"] = [-1.0, 44.0]

    assert not any("clearly loses" in text for text in roles_in_words(record(blur)))


def test_what_happened_to_each_role():
    roles = record().roles
    assert what_happened(roles["name-mover"]) == "L2H1 and L3H4 merged in L1H2"
    assert what_happened(roles["induction"]) == (
        "lost; L1H0 → L0H0 (without it); closest: L0H3, it fails by the effect of what it reads"
    )
    assert what_happened(roles["copy"]) == "new"

    def part(result):
        mover = result["roles"]["name-mover"]
        mover["merges"][0]["same_role"] = False
        mover["new"] = ["L1H0"]
        result["roles"]["induction"]["nearest"]["student"]["missing"] = []

    roles = record(part).roles
    assert what_happened(roles["name-mover"]) == (
        "L2H1 and L3H4 share the partner L1H2, without it; the student's L1H0 is no partner of these"
    )
    assert "too little for so many tests (p\u00a0=\u00a00.40)" in what_happened(roles["induction"])


def test_the_page_shows_both_conventions(tmp_path):
    rows = page(tmp_path).rows
    (table1,) = [row for row in rows if row[:2] == ["name-mover", "L2H1of 2"]]
    assert table1[2:] == ["27.825.8 to 29.8", "33.331.3 to 35.3", "L1H2", "–", "72.570.5 to 74.5"]
    (lost,) = [row for row in rows if row[0] == "induction" and len(row) == 7 and row[1] == "L1H0" and "lost" in row[3]]
    assert lost[4:] == ["−12.5−14.5 to −10.5", "–", "–"]


def test_runs_without_roles_still_have_a_page(tmp_path):
    for change in (lambda r: r.pop("roles"), lambda r: r.update(roles=None)):
        assert "What the heads do" not in " ".join(page(tmp_path, change).text)


def test_broken_roles_are_refused(tmp_path):
    with pytest.raises(ResultError, match="roles.table1"):
        page(tmp_path, lambda r: r["roles"].pop("table1"))
