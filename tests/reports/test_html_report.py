import gzip
import json
import re

import fake_run
import pytest
from html_page import Page

from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import save_run
from circuitkit.reports.html import CONTENT_SECURITY_POLICY, report

HOSTILE = "</script><img src=x onerror=alert(1)><!-- \u2028 & ]]> </title></style> {{ 7 * 7 }}"
KINDS = ["alignment", "table", "influence"]


def make(kind, path):
    if kind == "alignment":
        return fake_run.save_alignment(path, fake_run.alignment_result())
    made = fake_run.table_result() if kind == "table" else fake_run.influence_result()
    return save_run(path, made, {}, {})


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    result = fake_run.alignment_result()
    run = fake_run.save_alignment(tmp_path_factory.mktemp("runs") / "toy", result)
    return result, run, report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_report_is_one_small_file_under_the_exact_policy(kind, tmp_path):
    run = make(kind, tmp_path / "run")
    file = report(run)
    assert file == run / "report.html"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]
    assert not [p for p in run.iterdir() if p.name.startswith(".")]
    assert file.stat().st_size < 2_000_000
    page = Page(file.read_text(encoding="utf-8"))
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [CONTENT_SECURITY_POLICY]
    assert CONTENT_SECURITY_POLICY == (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
    )
    tags = [tag for tag, _ in page.tags]
    first_loading = min(tags.index(tag) for tag in ("style", "script"))
    assert tags.index("meta") < first_loading


def test_report_of_a_large_model_is_under_two_megabytes(tmp_path):
    run = fake_run.save_alignment(tmp_path / "run", fake_run.alignment_result(sizes=(32, 16, 32)))
    assert report(run).stat().st_size < 2_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_loaded_from_anywhere(kind, tmp_path):
    text = report(make(kind, tmp_path / "run")).read_text(encoding="utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "form"}
        assert not {"src", "srcset", "action", "background", "data"} & attributes.keys(), tag
        assert attributes.get("href", "#").startswith("#")
    assert "@import" not in text and "url(" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_same_run_gives_the_same_bytes(kind, tmp_path):
    run = make(kind, tmp_path / "run")
    first, second = report(run, tmp_path / "a.html"), report(run, tmp_path / "deep" / "b.html")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_page_is_accessible_in_its_bones(kind, tmp_path):
    page = Page(report(make(kind, tmp_path / "run")).read_text(encoding="utf-8"))
    assert ("html", {"lang": "en"}) in page.tags
    assert "title" in [tag for tag, _ in page.tags]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    figures = [a for tag, a in page.tags if a.get("role") == "img" or (tag == "svg" and "aria-hidden" not in a)]
    assert figures and all(a.get("aria-label") for a in figures)
    assert all(a.get("scope") in {"row", "col"} for tag, a in page.tags if tag == "th")


def test_every_pair_and_component_stands_in_a_table(toy):
    result, _, text = toy
    rows = {tuple(row) for row in Page(text).rows}
    for pair in result["pairs"]:
        wanted = (pair["teacher"], pair["student"], *(f"{pair[k]:.3f}" for k in ("similarity", "teacher_influence")))
        assert any(row[:4] == wanted for row in rows), wanted
    for who in ("teacher", "student"):
        for name, effect in result["influence"][who].items():
            drop = f"{effect['drop']:.3f}".replace("-", "\u2212")
            assert any(row[:2] == (name, drop) and len(row) == 5 for row in rows), name
    assert any(row[:2] == ("A", f"{result['alignment']['score']:.3f}") for row in rows)


def test_hostile_strings_stay_text(tmp_path):
    result = fake_run.alignment_result(prompt=HOSTILE)
    result["student"]["name"] = result["warnings"][0] = result["settings"]["note"] = result["command"] = HOSTILE
    result["task"]["name"] = result["task"]["dropped"][0]["reason"] = HOSTILE
    for example in result["examples"]:
        example["teacher_tokens"] = [HOSTILE, *example["teacher_tokens"][1:]]
        example["correct"] = HOSTILE
        example["heads"] = [{**pair, "student": HOSTILE} for pair in example["heads"]]
    text = report(fake_run.save_alignment(tmp_path / "run", result)).read_text(encoding="utf-8")
    page = Page(text)
    assert "img" not in [tag for tag, _ in page.tags]
    assert "49" not in "".join(page.text).replace(HOSTILE, "").split()
    assert text.count("<script") == text.count("</script>") == 4
    assert text.count("<style>") == text.count("</style>") == 1
    assert "<!--" not in text.split("</style>")[0] + text.split('id="report-data">')[1].split("</script>")[0]
    assert HOSTILE in "".join(page.text)
    data = re.search(r'id="report-data">(.*?)</script>', text, re.DOTALL)
    assert not set("<>&\u2028") & set(data[1])
    assert json.loads(data[1])["attention"][0]["teacher"]["tokens"][0] == HOSTILE


def test_embedded_scripts_are_what_was_packed(toy):
    import base64
    from pathlib import Path

    import circuitkit.reports

    _, _, text = toy
    vendor = Path(circuitkit.reports.__file__).parent / "vendor"
    packed = re.search(r'id="packed-plotly">(.*?)</script>', text, re.DOTALL)[1]
    script = gzip.decompress(base64.b64decode(packed))
    assert b"plotly.js (cartesian - minified) v4.1.1" in script[:200]
    assert base64.b64decode(packed) == (vendor / "plotly-cartesian.min.js.gz").read_bytes()
    packed = re.search(r'id="packed-circuitsvis">(.*?)</script>', text, re.DOTALL)[1]
    assert b"AttentionPattern" in gzip.decompress(base64.b64decode(packed))


def broken(change):
    def apply(path):
        result = fake_run.alignment_result()
        change(result)
        return fake_run.save_alignment(path, result)

    return apply


def no_run(path):
    return path


def empty_folder(path):
    path.mkdir()
    return path


def not_json(path):
    path.mkdir()
    (path / "result.json").write_bytes(b"\x00\xff{")
    return path


def foreign(path):
    path.mkdir()
    (path / "result.json").write_text('{"accuracy": 1}')
    return path


def other_kind(path):
    return save_run(path, {"schema": "circuitkit.nothing/1"}, {}, {})


def lost_patterns(path):
    return save_run(path, fake_run.alignment_result(), {}, {})


def bad_component(result):
    result["influence"]["teacher"]["head three"] = result["influence"]["teacher"].pop("L3H1")


def unmeasured_pair(result):
    result["pairs"][0]["teacher"] = "L9H9"


BAD = {
    "missing": (no_run, "holds no result.json"),
    "empty": (empty_folder, "holds no result.json"),
    "binary": (not_json, "cannot be read"),
    "foreign": (foreign, "not a circuitkit result"),
    "other kind": (other_kind, "holds circuitkit.nothing/1, which has no report"),
    "patterns": (lost_patterns, "example0.teacher_patterns"),
    "no score": (broken(lambda r: r["alignment"].pop("score")), "alignment.score"),
    "no pairs": (broken(lambda r: r.update(pairs=[])), "pairs"),
    "text for a number": (broken(lambda r: r["pairs"][0].update(similarity="high")), "pairs.0.similarity"),
    "component": (broken(bad_component), "head three"),
    "pair": (broken(unmeasured_pair), "L9H9"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_runs_are_refused_in_one_line(name, tmp_path):
    make_bad, wanted = BAD[name]
    run = make_bad(tmp_path / "run")
    with pytest.raises(ResultError) as caught:
        report(run)
    message = str(caught.value)
    assert wanted in message and "\n" not in message
    assert not (run / "report.html").exists()


def test_unwritable_output_is_refused_and_leaves_nothing(toy, tmp_path):
    _, run, _ = toy
    with pytest.raises(ResultError, match="is a directory"):
        report(run, tmp_path)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ResultError, match="could not be written"):
        report(run, tmp_path / "file" / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
