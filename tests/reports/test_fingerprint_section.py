"""The page's section on fingerprints, from a small record worked out by hand."""

import pytest
from fake_run import alignment_result
from html_page import Page

from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import save_run
from circuitkit.reports.alignment_record import AlignmentRecord
from circuitkit.reports.fingerprint_record import FingerprintRecord
from circuitkit.reports.fingerprint_section import matches, reaction_table, summaries
from circuitkit.reports.html import report
from circuitkit.reports.jupyter import alignment_html
from circuitkit.reports.records import read_record

READING = "F is above its null and below its ceiling, and A is above its null: part is common."


def effects(*values: float) -> dict[str, dict[str, float]]:
    """Two kinds at three places, kinds first."""
    a, b, c, d, e, f = values
    return {"abc": {"IO": a, "END": b, "rest": c}, "flip": {"IO": d, "END": e, "rest": f}}


def block() -> dict:
    """L1H0 and L1H1 of the teacher are merged in L0H0 of the student; L0H0 has nobody."""
    form = {"score": 0.7, "ci95": [0.65, 0.75]}
    return {
        "F": form,
        "one_to_one": {"score": 0.6, "ci95": None},
        "profile": {"score": 0.72, "ci95": None},
        "ceiling": {"score": 0.9, "ci95": [0.85, 0.95]},
        "nulls": {"shuffled": {"mean": 0.2, "ci95": [0.1, 0.3], "p": 0.005, "n": 200}},
        "kinds": ["abc", "flip"],
        "groups": ["IO", "END", "rest"],
        "task": {"name": "ioi", "n_prompts": 64, "n_dropped": 1},
        "pairs": {"L0H0": None, "L1H0": "L0H0", "L1H1": "L0H0", "MLP0": "MLP0"},
        "fingerprints": {
            "teacher": {
                "L0H0": effects(0.5, 0, 0, 0, 0, 0),
                "L1H0": effects(0, 1, 0, 0, 3, 0),
                "L1H1": effects(0, 2, 0, 0, 3, 0),
                "MLP0": effects(-1, 0, 0, 0, 0, 0),
            },
            "student": {"L0H0": effects(0, 2, 0, 0, 6, 0), "MLP0": effects(-0.5, 0, 0, 0, 0, 0)},
        },
        "reading": READING,
        "notices": ["F is of one test only."],
        "patched_runs_at_most": {"teacher": 1536, "student": 768},
    }


@pytest.fixture
def record():
    return FingerprintRecord.model_validate(block())


def test_matches_stand_together_the_heaviest_first(record):
    assert matches(record) == [(["L1H1", "L1H0"], "L0H0"), (["MLP0"], "MLP0"), (["L0H0"], None)]
    table = reaction_table(record)
    names = ["T-L1H1", "T-L1H0", "S-L0H0", "T-MLP0", "S-MLP0", "T-L0H0"]
    assert [f"{row.side}-{row.name}" for row in table.rows] == names
    assert [row.first for row in table.rows] == [True, False, False, True, False, True]
    assert [row.mass for row in table.rows] == [5, 4, 8, 1, 0.5, 0.5]
    assert (table.shown, table.total, table.most) == (3, 3, 6)


def test_cells_in_which_nothing_acts_are_left_out_and_named(record):
    table = reaction_table(record)
    assert table.columns == (("abc", "IO"), ("abc", "END"), ("flip", "END"))
    assert table.left == (("abc", "rest"), ("flip", "IO"), ("flip", "rest"))
    assert table.heads == (("abc", 2), ("flip", 1))
    student = table.rows[2].cells
    assert [cell.text for cell in student] == ["0", "2.00", "6.00"]
    assert [cell.weight for cell in student] == [0, 18, 55]
    assert table.rows[3].cells[0].sign == "down"
    assert table.rows[3].cells[0].title == "T-MLP0, abc at IO: \u22121.000 logits"


def test_each_component_says_what_it_reacts_to_most(record):
    teacher, student = summaries(record)
    assert [(s.name, s.kind, s.group, s.effect) for s in teacher] == [
        ("L1H1", "flip", "END", 3), ("L1H0", "flip", "END", 3), ("MLP0", "abc", "IO", -1), ("L0H0", "abc", "IO", 0.5),
    ]  # fmt: skip
    assert teacher[0].share == pytest.approx(5 / 10.5)
    assert teacher[3].partners == ()
    assert student[0].partners == ("L1H0", "L1H1")


def test_page_and_notebook_show_both_scores_and_the_fingerprints(tmp_path):
    result = alignment_result() | {"fingerprint": block()}
    run = save_run(tmp_path / "run", result | {"examples": []}, {}, {})
    text = report(run).read_text(encoding="utf-8")
    assert Page(text)
    for part in (READING, "A and F side by side", "What the components react to", "T-L1H1", "F is of one test only."):
        assert part in text
    assert "flip at rest" in text
    assert "1\u202f536 (teacher) and 768 (student)" in text
    assert text.index("Fingerprint score F") < text.index("Robustness and brittleness")
    shown = alignment_html(result)
    assert "Fingerprints of 3 of 3 matches" in shown
    assert READING in shown
    assert "The fingerprint score F" in shown and "0.700" in shown
    assert "<script" not in shown


def test_page_without_a_null_is_drawn(tmp_path):
    run = save_run(
        tmp_path / "run", alignment_result() | {"fingerprint": block() | {"nulls": {}}, "examples": []}, {}, {}
    )
    assert "A and F side by side" in report(run).read_text(encoding="utf-8")


def test_without_fingerprints_nothing_is_said_of_them(tmp_path):
    run = save_run(tmp_path / "run", alignment_result() | {"examples": []}, {}, {})
    assert "ingerprint" not in report(run).read_text(encoding="utf-8").split("</style>")[1].split("<script")[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pairs": {"L9H0": None}}, "L9H0"),
        ({"groups": ["IO", "END"]}, "lacks a counterfactual kind or a group"),
    ],
)
def test_broken_blocks_are_named(change, said):
    with pytest.raises(ResultError, match=said):
        read_record(AlignmentRecord, alignment_result() | {"fingerprint": block() | change})
