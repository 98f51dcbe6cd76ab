"""`circuitkit roles` as scripts meet it."""

import json

import pytest

from circuitkit.cli.main import main
from circuitkit.core.run_directory import load_run
from circuitkit.reports.html import report


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Call the program in an empty folder; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_roles_end_to_end(run, tmp_path):
    options = ("--task", "ioi", "-n", "16", "--bootstrap", "50", "--json", "-")
    code, out, err = run("roles", "toy-bert", *options)
    assert code == 0
    result = json.loads(out)  # nothing but JSON on standard output
    assert result["schema"] == "circuitkit.roles/1" and "name-mover" in result["roles"]["L3H0"]
    assert result["command"].split()[0] == "circuitkit"
    assert "name-mover" in err and "unknown" in err and "note: " in err
    folder = tmp_path / "runs" / "roles-toy-bert-ioi"
    assert load_run(folder).result["roles"] == result["roles"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "L3H0" in page and "Interpretability in the Wild" in page
    assert not list((tmp_path / "runs").glob("*.partial")) and len(list((tmp_path / "runs").iterdir())) == 1
    assert report(folder, tmp_path / "again.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (("--alpha", "1.5"), "Alpha"),
        (("--alpha", "nan"), "Alpha"),
        (("--min-attention", "1"), "--min-attention"),
        (("--min-effect", "-1"), "--min-effect"),
        (("--min-write", "7"), "--min-write"),
        (("--bootstrap", "-3"), "bootstrap"),
        (("--n-prompts", "0"), "0 prompts"),
        (("--batch-size", "none"), "--batch-size"),
        (("--task", "ioi,numerals"), "one task"),
        (("--task", "nothing"), "nothing"),
        (("--seed", "-1"), "seed"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, bad, said):
    task = () if "--task" in bad else ("--task", "ioi")
    code, out, err = run("roles", "toy-gpt2", *task, *bad)
    assert code == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and said in err
    assert not (tmp_path / "runs" / "roles-toy-gpt2-ioi").exists()
