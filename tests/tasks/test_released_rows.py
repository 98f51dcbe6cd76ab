"""Files in the schema of Lan et al.'s released prompts: joined by id, or by template in order."""

import json

import pytest

from circuitkit.core.errors import TaskError
from circuitkit.tasks.loading import load_task


def clean(i: int, template: str, **more: str) -> dict[str, object]:
    elements = [str(k) for k in range(1 + i, 5 + i)]
    text = " ".join(f"{w} done in {e}." for w, e in zip(["April", *"BCD"], elements, strict=True)) + " E done in"
    keys = {f"S{k}": element for k, element in enumerate(elements, 1)}
    ends = {"corr": f" {5 + i}", "incorr": f" {4 + i}"}
    return {"id": f"{template}/{i}", "template": template, **keys, **ends, "text": text, **more}


def corrupted(clean_id: str, template: str, elements: list[str]) -> dict[str, object]:
    text = " ".join(f"{w} done in {e}." for w, e in zip("ABCD", elements, strict=True)) + " E done in"
    stale = {f"S{k}": "99" for k in range(1, 5)}
    return {
        "clean_id": clean_id,
        "template": template,
        **stale,
        "corr": " 5",
        "incorr": " 4",
        "text": text,
        "text_seq": elements,
    }


def files(tmp_path, cleans: list[dict[str, object]], corrupteds: list[dict[str, object]] | None):
    path = tmp_path / "numbers_clean.jsonl"
    path.write_text("\n".join(map(json.dumps, cleans)))
    if corrupteds is not None:
        (tmp_path / "numbers_corrupted.jsonl").write_text("\n".join(map(json.dumps, corrupteds)))
    return path


def test_partners_are_joined_by_id_and_the_rest_by_template_in_order(tmp_path) -> None:
    partners = [
        corrupted("done/2", "done", ["7", "1", "7", "3"]),
        corrupted("gone/0", "done", ["8", "2", "8", "4"]),
        corrupted("lost/1", "lost", ["9", "9", "9", "9"]),
    ]
    cleans = [clean(0, "done"), clean(1, "done"), clean(2, "done"), clean(3, "done"), clean(1, "lost", corr=" x")]
    task = load_task(files(tmp_path, cleans, partners))
    by_answer = {pair.correct: pair for pair in task.pairs(99)}
    texts = [str(row["text"]) for row in partners]
    assert by_answer[" 7"].corrupted == texts[0]
    assert [by_answer[key].corrupted for key in (" 5", " 6", " 8")] == [texts[0], texts[1], texts[0]]
    assert by_answer[" x"].corrupted == texts[2]
    labels = by_answer[" 7"].corrupted_labels
    assert [texts[0][slice(*labels[f"n{i}"])] for i in range(1, 5)] == ["7", "1", "7", "3"]
    first = by_answer[" 5"]
    assert [first.clean[slice(*first.labels[f"n{i}"])] for i in range(1, 5)] == ["1", "2", "3", "4"]
    assert first.incorrect == " 4"


def test_without_a_file_beside_there_is_no_corruption(tmp_path) -> None:
    task = load_task(files(tmp_path, [clean(0, "done"), clean(1, "done")], None))
    assert all(pair.corrupted is None and pair.corrupted_labels == {} for pair in task.pairs(2))


def test_the_corrupted_file_is_part_of_the_hash(tmp_path) -> None:
    rows = [clean(0, "done")]
    alone = load_task(files(tmp_path, rows, None)).sha256
    assert load_task(files(tmp_path, rows, [corrupted("x", "done", ["1"] * 4)])).sha256 != alone


@pytest.mark.parametrize(
    ("cleans", "corrupteds", "wanted"),
    [
        ([clean(0, "done")], [corrupted("x", "lost", ["1"] * 4)], "'done', which has no corrupted prompt"),
        ([clean(0, "done", S2="April")], None, "element 'April' ends no sentence"),
        ([clean(0, "done"), clean(0, "done")], None, "line 2 repeats"),
        ([clean(0, "done", corr=" 4")], None, "are both ' 4'"),
        ([clean(0, "done"), {"text": "x"}], None, "line 2 has no 'corr'"),
    ],
)
def test_bad_rows(tmp_path, cleans, corrupteds, wanted: str) -> None:
    with pytest.raises(TaskError, match=wanted) as error:
        load_task(files(tmp_path, cleans, corrupteds))
    assert "\n" not in str(error.value)
