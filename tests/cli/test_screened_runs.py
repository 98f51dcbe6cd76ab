"""`--method screen` on the command line."""

import json

import pytest

from circuitkit.cli.main import main
from circuitkit.interventions import attribution, engine


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Call the program in an empty folder; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> tuple[int, str, str]:
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, captured.out, " ".join(captured.err.split())

    return call


@pytest.mark.parametrize("command", [("influence", "toy-gpt2"), ("align", "toy-gpt2", "toy-distilgpt2")])
def test_an_unknown_method_is_one_line_of_error(run, command):
    code, _, err = run(*command, "-t", "ioi", "--method", "guess")
    assert code == 2
    assert "'guess'" in err and "--method" in err and err.count("circuitkit:") == 1


def test_a_screened_influence_says_so_everywhere(run, tmp_path):
    args = ["influence", "toy-gpt2", "-t", "numerals", "-n", 64, "--bootstrap", 20, "--method", "screen"]
    code, out, err = run(*args, "--json", "-", "--out", "inf")
    assert code == 0
    result = json.loads(out)
    n_exact = sum(row["exact"] for row in result["influence"].values())
    assert result["settings"]["method"] == "screen"
    assert 0 < n_exact == result["screen"]["n_exact"] < 20
    notice = f"{n_exact} of 20 components measured exactly"
    assert notice in err
    page = (tmp_path / "inf" / "report.html").read_text(encoding="utf-8")
    assert notice in page and "(estimate)" in page


def test_a_screened_alignment_says_what_it_may_change(run):
    args = ["align", "toy-gpt2", "toy-distilgpt2", "-t", "numerals", "-n", 64, "--bootstrap", 20, "--no-controls"]
    code, out, err = run(*args, "--method", "screen", "--json", "-", "--out", "run")
    assert code == 0
    assert f"may move A by {json.loads(out)['screen']['error_in_score']:.2g}" in err
    code, _, err = run("report", "run", "-o", "again.html")
    assert code == 0


def test_an_interrupted_screening_goes_on_where_it_was(run, tmp_path, monkeypatch):
    true_shard, true_gradients, shards, gradients = engine._prompts, attribution.attribution, [], []

    def measured(*args, **kwargs):
        if len(shards) == 1:
            raise KeyboardInterrupt
        shards.append(1)
        return true_shard(*args, **kwargs)

    def estimated(*args, **kwargs):
        gradients.append(1)
        return true_gradients(*args, **kwargs)

    monkeypatch.setattr(engine, "_prompts", measured)
    monkeypatch.setattr(attribution, "attribution", estimated)
    args = ["influence", "toy-gpt2", "-t", "numerals", "-n", 64, "--bootstrap", 0, "--method", "screen", "--out", "inf"]
    code, _, err = run(*args)
    assert code == 130 and "the same command goes on" in err
    assert len(gradients) == 2
    monkeypatch.setattr(engine, "_prompts", true_shard)
    assert run(*args)[0] == 0
    assert len(gradients) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inf"]
