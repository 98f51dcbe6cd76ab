"""The command line as scripts and new users meet it."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

import circuitkit
from circuitkit.cli.main import main
from circuitkit.interventions import sweep as sweep_module

NAMES = "Mary John Tom James Dan Sid Paul Kate".split()


def _rows(n=6):
    for a, b in itertools.islice(itertools.permutations(NAMES[:4], 2), n):
        yield {
            "clean": f"When {a} and {b} went to the store, {b} gave a ring to",
            "corrupted": f"When Dan and Sid went to the store, {'Paul' if a != 'Tom' else 'Kate'} gave a ring to",
            "correct": f" {a}",
            "incorrect": f" {b}",
        }


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder with a file of prompts in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _rows()))
    return tmp_path


@pytest.fixture
def run(capsys):
    """Call the program; its exit code, standard output and standard error."""

    def call(*args):
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_start_is_light():
    check = (
        "import sys; from circuitkit.cli.main import main; main(['--help']);"
        "heavy = {'torch', 'transformers', 'transformer_lens', 'plotly', 'pandas'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)


def test_import_is_light():
    check = (
        "import sys, circuitkit; circuitkit.Component; circuitkit.load_task;"
        "sys.exit(bool({'transformers', 'transformer_lens', 'plotly'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_version_names_the_distribution(run):
    assert run("--version") == (0, f"circuitkit {circuitkit.__version__} (distribution circuitkit-distill)\n", "")


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_align_json_is_clean_and_keeps_the_contract(run, place, tiny_dirs, family):
    code, out, err = run(
        "align", tiny_dirs[family], tiny_dirs[family], "--task", "prompts.jsonl", "--bootstrap", 50, "--json", "-"
    )
    result = json.loads(out)
    assert code == 0
    assert result["schema"] == "circuitkit.alignment/1"
    assert {"name", "family", "n_layers", "n_heads", "d_model", "n_params", "weights_sha256"} <= set(result["teacher"])
    assert result["task"]["n_prompts"] == 6
    assert result["task"]["n_dropped"] == 0
    assert result["alignment"]["score"] == pytest.approx(1, abs=1e-6)
    assert set(result["influence"]["teacher"]["L0H0"]) >= {"drop", "influence", "ci95"}
    assert set(result["pairs"][0]) >= {
        "teacher", "student", "similarity", "teacher_influence", "student_influence", "contribution",
    }  # fmt: skip
    assert {"score", "ci95", "null", "calibrated", "circuit_alignment"} <= set(result["alignment"])
    assert {"teacher", "student", "compression", "brittleness"} <= set(result["robustness"])
    assert "same weights" in err
    saved = list((place / "runs").iterdir())
    assert len(saved) == 1
    assert sorted(p.name for p in saved[0].iterdir()) == ["report.html", "result.json", "tensors.safetensors"]
    assert json.loads((saved[0] / "result.json").read_text())["alignment"] == result["alignment"]
    assert sorted(p.name for p in place.iterdir()) == ["prompts.jsonl", "runs"]


def test_same_command_same_numbers(run, place, tiny_dirs):
    args = ["align", tiny_dirs["gpt2"], tiny_dirs["gpt2"], "-t", "prompts.jsonl", "--bootstrap", 20, "--null", "both"]
    outputs = [run(*args, "--out", "same", "--json", "-")[1] for _ in range(2)]
    assert outputs[0] == outputs[1]


def test_intervals_and_nulls_can_be_turned_off(run, place, tiny_dirs):
    code, out, _ = run(
        "align", tiny_dirs["gpt2"], tiny_dirs["gpt2"], "-t", "prompts.jsonl", "--bootstrap", 0, "--null", "none",
        "--json", "-",
    )  # fmt: skip
    result = json.loads(out)
    assert code == 0
    assert result["alignment"]["ci95"] is None
    assert result["alignment"]["null"] == {"shuffle": None, "random_student": None}
    assert result["teacher_logit_diff"]["ci95"] is None


def test_several_tasks_make_a_table(run, place, tiny_dirs):
    (place / "other.jsonl").write_text((place / "prompts.jsonl").read_text())
    code, out, _ = run(
        "align", tiny_dirs["gpt2"], tiny_dirs["gpt2"], "-t", "prompts.jsonl,other.jsonl", "--bootstrap", 20,
        "--out", "both", "--json", "-",
    )  # fmt: skip
    table = json.loads(out)
    assert code == 0
    assert table["schema"] == "circuitkit.alignment-table/1"
    assert list(table["tasks"]) == ["prompts", "other"]
    assert (place / "both" / "report.html").exists()
    for name in table["tasks"]:
        assert (place / "both" / name / "result.json").exists()


def test_gate(run, place, tiny_dirs):
    args = ["align", tiny_dirs["gpt2"], tiny_dirs["gpt2"], "-t", "prompts.jsonl", "--bootstrap", 20]
    assert run(*args, "--min-alignment", 0.9)[0] == 0
    code, _, err = run(*args, "--min-alignment", 1.5)
    assert code == 3
    assert "wanted 1.5" in err


def test_influence_and_report(run, place, tiny_dirs):
    code, out, _ = run("influence", tiny_dirs["llama"], "-t", "prompts.jsonl", "--bootstrap", 20, "--out", "inf")
    assert code == 0
    assert out.splitlines()[0].split() == ["run", "inf"]
    result = json.loads((place / "inf" / "result.json").read_text())
    assert result["schema"] == "circuitkit.influence/1"
    assert max(row["influence"] for row in result["influence"].values()) == 1
    code, out, _ = run("report", "inf", "-o", "page.html")
    assert (code, out) == (0, "page.html\n")
    assert "Content-Security-Policy" in (place / "page.html").read_text()


def test_interrupted_work_goes_on(run, place, tiny_dirs, monkeypatch):
    monkeypatch.setattr(sweep_module, "PROMPTS_PER_SHARD", 2)
    true_shard, calls = sweep_module._shard, []

    def interrupted(*args, **kwargs):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return true_shard(*args, **kwargs)

    args = ["influence", tiny_dirs["gpt2"], "-t", "prompts.jsonl", "--bootstrap", 20, "--out", "inf"]
    monkeypatch.setattr(sweep_module, "_shard", interrupted)
    code, _, err = run(*args)
    assert code == 130
    assert "the same command goes on" in err
    assert not (place / "inf").exists()
    counted = []
    monkeypatch.setattr(sweep_module, "_shard", lambda *a, **k: counted.append(1) or true_shard(*a, **k))
    assert run(*args)[0] == 0
    assert len(counted) == 1
    assert sorted(p.name for p in place.iterdir()) == ["inf", "prompts.jsonl"]


def test_tasks_and_models_are_listed(run):
    code, out, _ = run("tasks")
    assert code == 0
    assert {"ioi", "numerals", "simpleqa"} <= {line.split()[0] for line in out.splitlines()}
    code, out, _ = run("tasks", "ioi", "-n", 1)
    assert code == 0
    assert "IO=" in out
    code, out, _ = run("models")
    assert code == 0
    assert "toy-gpt2" in out


BAD = {
    "unknown model": (["align", "no-such-model", "no-such-model", "-t", "prompts.jsonl"], "no-such-model"),
    "unknown task": (["align", "{gpt2}", "{gpt2}", "-t", "ioj"], "ioi"),
    "unknown option": (["align", "{gpt2}", "{gpt2}", "-t", "ioi", "--frobnicate"], "--frobnicate"),
    "unknown ablation": (["align", "{gpt2}", "{gpt2}", "-t", "ioi", "--ablation", "avg"], "corrupted-mean"),
    "unknown device": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--device", "abacus"], "abacus"),
    "unknown dtype": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--dtype", "int3"], "int3"),
    "no task": (["align", "{gpt2}", "{gpt2}"], "--task"),
    "empty task": (["align", "{gpt2}", "{gpt2}", "-t", "ioi,,"], "empty name"),
    "no prompts": (["influence", "{gpt2}", "-t", "ioi", "-n", "0"], "0"),
    "batch size": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--batch-size", "many"], "auto or a number"),
    "gate without interval": (
        ["align", "{gpt2}", "{gpt2}", "-t", "ioi", "--bootstrap", "0", "--min-alignment", ".5"],
        "drop one",
    ),
    "output is a file": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--out", "prompts.jsonl"], "is a file"),
    "output is a full folder": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--out", "."], "other files in it"),
    "json into nowhere": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--json", "no/where.json"], "no directory"),
    "html is a folder": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--html", "."], "is a directory"),
    "report of nothing": (["report", "nothing"], "No run"),
    "unknown command": (["algin"], "algin"),
    "widths differ": (
        ["align", "{gpt2}", "{wide}", "-t", "prompts.jsonl", "--similarity", "output"],
        "pattern",
    ),
}


@pytest.mark.parametrize(("args", "hint"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_exit_2(run, place, tiny_dirs, wide_dir, args, hint):
    dirs = {**{name: str(path) for name, path in tiny_dirs.items()}, "wide": str(wide_dir)}
    code, out, err = run(*(arg.format(**dirs) if arg.startswith("{") else arg for arg in args))
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("circuitkit: ")
    assert hint in err
    assert not (place / "runs").exists()


def test_a_full_disk_is_named(run, place, tiny_dirs):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    code, _, err = run(
        "influence", tiny_dirs["gpt2"], "-t", "prompts.jsonl", "--bootstrap", 20, "--out", "x", "--json", "/dev/full"
    )
    assert code == 2
    assert "No space left" in err.splitlines()[-1]
    assert (place / "x" / "result.json").exists()
