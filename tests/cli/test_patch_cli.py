"""`circuitkit patch` as scripts and users meet it."""

import json

import pytest

from circuitkit.cli.main import main


@pytest.fixture
def patch(tiny_dirs, tmp_path, monkeypatch, capsys):
    """Run the command on a tiny model; gives the exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*args, family="gpt2"):
        code = main(["patch", str(tiny_dirs[family]), "--task", "months", "-n", "16", "--bootstrap", "20", *args])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_patch_writes_a_run_and_a_page(patch, tmp_path):
    code, out, err = patch("--out", "here", "--parts", "block,mlp", "--direction", "noise")
    assert code == 0
    assert "report" in out and "block2" in err and "MLP1" in err
    result = json.loads((tmp_path / "here" / "result.json").read_text())
    assert result["schema"] == "circuitkit.patching/1"
    assert result["settings"]["parts"] == ["block", "mlp"]
    assert result["direction"] == "noise"
    assert [row["name"] for row in result["rows"]][:2] == ["embed", "block0"]
    page = (tmp_path / "here" / "report.html").read_text(encoding="utf-8")
    assert "Whole blocks" in page and "The logit lens" in page
    assert not (tmp_path / ".here.partial").exists()


def test_standard_output_can_be_json_alone(patch):
    code, out, err = patch("--parts", "q, v", "--components", "L0H1,L1H0", "--positions", "tokens", "--json", "-")
    assert code == 0
    result = json.loads(out)
    assert [row["name"] for row in result["rows"]] == ["L0H1.q", "L1H0.q", "L0H1.v", "L1H0.v"]
    assert "strongest at" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--parts", "block,heads"), "Part 'heads' unknown"),
        (("--parts", "block,"), "Part '' unknown"),
        (("--components", "L99H0"), "L99H0 is not in"),
        (("--components", "best"), "Component 'best' not understood"),
        (("--positions", "words"), "positions"),
        (("--batch-size", "0"), "--batch-size"),
        (("--bootstrap", "-1"), "bootstrap"),
    ],
)
def test_bad_input_is_one_line(patch, args, message):
    code, out, err = patch(*args)
    assert code == 2 and out == ""
    assert message in err and len(err.strip().splitlines()) == 1


def test_encoders_are_told_that_the_lens_says_little(patch, tmp_path):
    assert patch("--out", "bert", "--parts", "block", family="bert")[0] == 0
    assert "post-LN" in (tmp_path / "bert" / "report.html").read_text(encoding="utf-8")
