"""`circuitkit align` with fingerprints: what is printed, how it is turned off, and an interrupt in their sweep."""

import json

import pytest
from tiny_models import build_raw, save

from circuitkit.cli.main import main
from circuitkit.interventions import engine


@pytest.fixture(scope="module")
def student_dir(tmp_path_factory, tiny_tokenizers):
    tokenizer = tiny_tokenizers["gpt2"]
    raw = build_raw("gpt2", vocab_size=len(tokenizer), n_layers=2, seed=5)
    return save(raw, tokenizer, tmp_path_factory.mktemp("student") / "student-gpt2")


@pytest.fixture
def run(capsys, tmp_path, monkeypatch, tiny_dirs, student_dir):
    """Align the two models in an empty folder; exit code, standard output and standard error as one line."""
    monkeypatch.chdir(tmp_path)
    fixed = ["align", tiny_dirs["gpt2"], student_dir, "--n-prompts", 8, "--bootstrap", 20, "--out", "run"]

    def call(*args):
        code = main([str(arg) for arg in (*fixed, *args)])
        captured = capsys.readouterr()
        return code, captured.out, " ".join(captured.err.split())

    return call


def test_both_scores_are_printed_and_saved(run, tmp_path):
    code, out, err = run("--task", "numerals", "--json", "-")
    block = json.loads(out)["fingerprint"]
    assert code == 0
    assert "alignment A" in err and "fingerprint F" in err
    assert f"{block['F']['score']:.3f}" in err
    assert f"A and F: {block['reading']}" in err
    n = 8 * len(block["kinds"]) * len(block["groups"])
    assert f"at most {15 * n:,} and {10 * n:,} patched runs" in err
    assert "random, shifted, last, nouns" in err
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "A and F side by side" in page


def test_top_components_say_what_is_left_out(run):
    code, out, err = run("--task", "numerals", "--fingerprint-components", "top:4", "--json", "-")
    block = json.loads(out)["fingerprint"]
    assert code == 0
    assert block["screen"]["teacher"]["n_kept"] == 4 == len(block["fingerprints"]["teacher"])
    assert "F is of 4 of 15 teacher and 4 of 10 student components" in err
    assert "of all components it would lie between" in err


def test_it_can_be_turned_off(run):
    code, out, err = run("--task", "numerals", "--no-fingerprint", "--json", "-")
    assert code == 0
    assert json.loads(out)["fingerprint"] is None
    assert "ingerprint" not in err


def test_several_tasks_have_a_column(run, tmp_path):
    code, out, err = run("--task", "numerals,months", "--json", "-")
    tasks = json.loads(out)["tasks"]
    assert code == 0
    for name, result in tasks.items():
        assert f"{name}: {result['fingerprint']['reading']}" in err
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count("What the components react to") == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--fingerprint-components", "most"), "components 'most' not understood; give auto, all, or top:K"),
        (("--fingerprint-prompts", 2), "fingerprint prompts 2 is too small; give 4 or more"),
    ],
)
def test_bad_options_are_refused(run, option, said):
    code, out, err = run("--task", "numerals", *option)
    assert (code, out) == (2, "")
    assert said in err


def test_an_interrupt_in_the_sweep_of_fingerprints_goes_on(run, tmp_path, monkeypatch):
    true_shard, done = engine._prompts, []
    monkeypatch.setattr(engine, "_prompts", lambda *a, **k: done.append(1) or true_shard(*a, **k))
    code, whole, _ = run("--task", "numerals", "--json", "-")
    assert code == 0
    shards = len(done)

    def interrupted(*args, **kwargs):
        if len(done) == shards - 2:
            raise KeyboardInterrupt
        done.append(1)
        return true_shard(*args, **kwargs)

    done.clear()
    monkeypatch.setattr(engine, "_prompts", interrupted)
    code, _, err = run("--task", "numerals", "--json", "-", "--out", "again")
    assert code == 130
    assert "the same command goes on there" in err
    done.clear()
    monkeypatch.setattr(engine, "_prompts", lambda *a, **k: done.append(1) or true_shard(*a, **k))
    code, out, _ = run("--task", "numerals", "--json", "-", "--out", "again")
    assert code == 0
    assert len(done) == 2
    assert json.loads(out) | {"command": ""} == json.loads(whole) | {"command": ""}
