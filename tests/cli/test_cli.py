"""The command line as scripts and new users meet it."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tiny_models import build_raw, save

import circuitkit
from circuitkit.alignment.align import align
from circuitkit.cli.main import main
from circuitkit.cli.output import default_out
from circuitkit.core import run_directory
from circuitkit.core.errors import TaskError
from circuitkit.interventions import engine
from circuitkit.tasks.loading import load_task, load_tasks, task_folder

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
    rows = "".join(json.dumps(row) + "\n" for row in _rows())
    (tmp_path / "prompts.jsonl").write_text(rows)
    return tmp_path


@pytest.fixture
def more_files(place):
    """Files of prompts with awkward names, and one that no tiny model can read."""
    (place / "sub").mkdir()
    for name in ("prompts", "result.json"):
        (place / "sub" / f"{name}.jsonl").write_text((place / "prompts.jsonl").read_text())
    rows = [row | {"clean": 50 * "Then " + row["clean"]} for row in _rows()]
    (place / "sub" / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def student_dir(tmp_path_factory, tiny_tokenizers):
    """A GPT-2 that is not the tiny one."""
    tokenizer = tiny_tokenizers["gpt2"]
    raw = build_raw("gpt2", vocab_size=len(tokenizer), n_layers=2, seed=5)
    return save(raw, tokenizer, tmp_path_factory.mktemp("student") / "student-gpt2")


def _without_command(result):
    return {key: value for key, value in result.items() if key != "command"}


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


def test_several_tasks_make_a_table(run, place, tiny_dirs, student_dir):
    (place / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in list(_rows(11))[5:]))
    models = tiny_dirs["gpt2"], student_dir
    code, out, _ = run(
        "align", *models, "-t", "prompts.jsonl,other.jsonl", "--bootstrap", 20, "--out", "both", "--json", "-"
    )
    table = json.loads(out)
    assert code == 0
    assert table["schema"] == "circuitkit.alignment-table/1"
    assert list(table["tasks"]) == ["prompts", "other"]
    assert (place / "both" / "report.html").exists()
    assert table["tasks"]["prompts"]["influence"] != table["tasks"]["other"]["influence"]
    for name in table["tasks"]:
        alone = json.loads(run("align", *models, "-t", f"{name}.jsonl", "--bootstrap", 20, "--json", "-")[1])
        inside = json.loads((place / "both" / name / "result.json").read_text())
        del inside["tensors"]
        assert [_without_command(r) for r in (inside, table["tasks"][name])] == [_without_command(alone)] * 2
    assert sorted(p.name for p in place.iterdir()) == ["both", "other.jsonl", "prompts.jsonl", "runs"]


def test_gate_is_the_lower_bound(run, place, tiny_dirs, student_dir):
    args = ["align", tiny_dirs["gpt2"], student_dir, "-t", "prompts.jsonl", "--bootstrap", 50]
    alignment = json.loads(run(*args, "--json", "-")[1])["alignment"]
    score, low = alignment["score"], alignment["ci95"][0]
    assert low < score - 1e-4
    assert run(*args, "--min-alignment", low - 1e-4)[0] == 0
    code, _, err = run(*args, "--min-alignment", (low + score) / 2)
    assert code == 3
    assert f"lower bound {low:.3f}" in err


def test_gate_is_not_met_without_a_lower_bound(place, tiny_models):
    from circuitkit.cli.delivery import _gate

    task = load_task("prompts.jsonl")
    result = align(tiny_models["gpt2"], tiny_models["gpt2"], task, bootstrap=0, null="none", controls=False)
    assert _gate([result], 0.1) == 3
    assert _gate([result], None) == 0


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
    monkeypatch.setattr(engine, "PROMPTS_PER_SHARD", 2)
    true_shard, calls = engine._prompts, []

    def interrupted(*args, **kwargs):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return true_shard(*args, **kwargs)

    args = ["influence", tiny_dirs["gpt2"], "-t", "prompts.jsonl", "--bootstrap", 20, "--out", "inf"]
    monkeypatch.setattr(engine, "_prompts", interrupted)
    code, _, err = run(*args)
    assert code == 130
    assert "the same command goes on" in err
    assert not (place / "inf").exists()
    counted = []
    monkeypatch.setattr(engine, "_prompts", lambda *a, **k: counted.append(1) or true_shard(*a, **k))
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
    lines = out.splitlines()
    assert [line for line in lines if line in ("name", "flip", "abc", "order")] == ["abc", "flip", "order", "name"]
    clean, changed = (lines[lines.index("flip") + i].split(maxsplit=1)[1] for i in (1, 2))
    assert clean != changed and f"clean      {clean}" in lines[:8]
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
    "output is a full folder": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--out", "."], "current directory"),
    "output is nothing": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--out", ""], "current directory"),
    "output is too long": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--out", "n" * 250], "too long"),
    "page is too long": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--html", "n" * 250], "too long"),
    "gate that is no number": (
        ["align", "{gpt2}", "{gpt2}", "-t", "prompts.jsonl", "--min-alignment", "nan"],
        "--min-alignment",
    ),
    "endless gate": (["align", "{gpt2}", "{gpt2}", "-t", "prompts.jsonl", "--min-alignment", "inf"], "such as"),
    "seed": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--seed", str(10**23)], "--seed"),
    "long batch size": (["influence", "{gpt2}", "-t", "prompts.jsonl", "--batch-size", "9" * 5000], "auto or a number"),
    "tasks of one name": (["align", "{gpt2}", "{gpt2}", "-t", "prompts.jsonl,sub/prompts.jsonl"], "'prompts'"),
    "task called as a file": (["align", "{gpt2}", "{gpt2}", "-t", "ioi,sub/result.json.jsonl"], "'result.json'"),
    "several tasks for one": (["influence", "{gpt2}", "-t", "ioi,numerals"], "one task only"),
    "data for none": (["align", "{gpt2}", "{gpt2}", "-t", "ioi,numerals", "--data", "x.csv"], "take one: none"),
    "data for none of its own": (["align", "{gpt2}", "{gpt2}", "-t", "ioi", "--data", "x.csv"], "leave out --data"),
    "second task cannot be used": (["align", "{gpt2}", "{gpt2}", "-t", "prompts.jsonl,sub/long.jsonl"], "long"),
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
def test_bad_input_is_one_line_and_exit_2(run, place, more_files, tiny_dirs, wide_dir, args, hint):
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


def test_a_default_name_is_never_too_long():
    names = ["align", "teachers/" + "t" * 200, "s" * 200, "ioi"]
    assert len(default_out(*names).name) == 120
    assert default_out(*names) != default_out(*names[:-1], "numerals")
    assert default_out("align", "a/b", "x", "ioi.toml").name == "align-b-x-ioi"
    assert default_out("align", os.fsdecode(b"\xff" * 200)).name


def test_replacing_an_earlier_run_is_said(run, place, tiny_dirs):
    args = ["influence", tiny_dirs["gpt2"], "-t", "prompts.jsonl", "--bootstrap", 0]
    for place_args in ((), ("--out", "mine")):
        assert "replaces" not in run(*args, *place_args)[2]
        code, _, err = run(*args, "--ablation", "mean", *place_args)
        assert code == 0
        assert "replaces the earlier run in" in err


def test_settings_hold_every_option(run, place, tiny_dirs):
    args = "-t", "prompts.jsonl", "--bootstrap", 0, "--batch-size", 7, "--json", "-"
    one = json.loads(run("influence", tiny_dirs["gpt2"], *args)[1])
    two = json.loads(run("align", tiny_dirs["gpt2"], tiny_dirs["gpt2"], *args, "--null", "none")[1])
    for result in (one, two):
        assert result["settings"]["batch_size"] == 7
        assert result["settings"]["data"] is None
        assert "divided by the greatest drop" in result["units"]["influence"]


def test_a_data_file_goes_to_the_task_that_takes_one(place):
    (place / "mine.csv").write_bytes((task_folder() / "simpleqa_facts.csv").read_bytes())
    tasks = load_tasks(["ioi", "simpleqa"], data="mine.csv")
    assert [task.data for task in tasks] == [None, "mine.csv"]
    (place / "own.toml").write_bytes((task_folder() / "simpleqa.toml").read_bytes())
    with pytest.raises(TaskError, match=r"take one: simpleqa, own\.toml"):
        load_tasks(["simpleqa", "own.toml"], data="mine.csv")


def _interrupting(monkeypatch, where, *, stop):
    """Call `stop` when the function at `where` is called."""

    def interrupted(*args, **kwargs):
        stop()

    monkeypatch.setattr(where, interrupted)


def _raise():
    raise KeyboardInterrupt


def _terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(5)


@pytest.mark.parametrize("stop", [_raise, _terminate])
@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("circuitkit.models.loading.load_model", "nothing was written"),
        ("circuitkit.discovery.influence.Influence.save", "the same command goes on"),
        ("circuitkit.reports.html.report", "saved whole in inf"),
    ],
)
def test_whenever_it_is_stopped_it_says_what_is_kept(run, place, tiny_dirs, monkeypatch, where, said, stop):
    before = signal.getsignal(signal.SIGTERM)
    _interrupting(monkeypatch, where, stop=stop)
    code, _, err = run("influence", tiny_dirs["gpt2"], "-t", "prompts.jsonl", "--bootstrap", 0, "--out", "inf")
    assert code == 130
    assert said in err.replace("\n", " ")
    assert len(err.strip().splitlines()) == 1 or "saved" in said
    assert signal.getsignal(signal.SIGTERM) == before
    assert (place / "inf" / "result.json").exists() == ("saved" in said)


def test_signals_are_left_alone_outside_the_main_thread(run):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_names_that_are_not_utf8(run, place, tiny_dirs):
    name = os.fsdecode(b"pr\xff")
    try:
        (place / f"{name}.jsonl").write_text((place / "prompts.jsonl").read_text())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    code, out, err = run(
        "align", tiny_dirs["gpt2"], tiny_dirs["gpt2"], "-t", f"{name}.jsonl,prompts.jsonl", "--bootstrap", 0, "--null",
        "none", "--out", name,
    )  # fmt: skip
    assert code == 0, err
    assert "run     pr\\udcff" in out
    assert (place / name / name / "tensors.safetensors").exists()
    assert "pr\\udcff" in (place / name / "report.html").read_text(encoding="utf-8")
    assert run("report", place / name)[0] == 0
    assert run("influence", tiny_dirs["gpt2"], "-t", f"{name}.jsonl", "--bootstrap", 0, "--json", "-")[0] == 0
    assert run("influence", tiny_dirs["gpt2"], "-t", name)[0] == 2
    assert run("align", tiny_dirs["gpt2"], name, "-t", "prompts.jsonl")[0] == 2


def test_a_full_disk_is_named_while_the_run_is_saved(run, place, tiny_dirs, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    code, _, err = run("influence", tiny_dirs["gpt2"], "-t", "prompts.jsonl", "--bootstrap", 0, "--out", "x")
    assert code == 0
    monkeypatch.setattr(run_directory, "save_file", full)
    code, _, err = run("influence", tiny_dirs["gpt2"], "-t", "prompts.jsonl", "--bootstrap", 0, "--out", "x")
    assert code == 2
    assert "No space left" in err.splitlines()[-1]
    assert (place / "x" / "result.json").exists()


def test_help_of_influence_names_one_task(run):
    assert "several with commas" in run("align", "--help")[1].replace("\n", " ").replace("  ", " ")
    assert "several" not in run("influence", "--help")[1]
