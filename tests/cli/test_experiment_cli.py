"""`circuitkit experiment` as scripts and users meet it."""

import json
import signal
import subprocess
import sys
import time

import pytest

from circuitkit.cli.main import main
from circuitkit.experiments.catalogue import STUDIES
from circuitkit.experiments.study import Study

PAIR = ("toy-gpt2", "toy-distilgpt2")
SMALL = ("-n", "12", "--bootstrap", "20", "--device", "cpu")
OPTIONS = {"noise": ("--levels", "0,1", "--repeats", "1"), "threshold": ("--levels", "0.5")}
SLOWLY = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
import time
import torch
torch.set_num_threads(1)
import circuitkit.experiments.noise as noise
sweep = noise.plain_sweep
noise.plain_sweep = lambda *a, **k: (time.sleep(0.3), sweep(*a, **k))[1]
from circuitkit.cli.main import run
run()
"""


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Call the program in an empty folder; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        code = main(["experiment", *map(str, args)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_without_a_name_experiments_are_listed(run):
    code, out, err = run()
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [*STUDIES, "battery"]


@pytest.mark.parametrize("name", STUDIES)
def test_every_experiment_runs_and_leaves_a_run_and_a_page(run, tmp_path, name):
    code, out, err = run(name, *PAIR, "--task", "numerals", *SMALL, *OPTIONS.get(name, ()), "--out", "here")
    assert code == 0, err
    assert out.splitlines()[0].split() == ["run", "here"]
    study = Study.load(tmp_path / "here")
    assert study.name == name
    assert study.made_with["command"].split()[0] == "circuitkit"
    assert study.findings[0].split(".")[0] in err.replace("\n", " ")
    page = (tmp_path / "here" / "report.html").read_text()
    assert all(f'id="figure-{i}"' in page for i in range(len(study.figures)))
    assert not (tmp_path / ".here.partial").exists()


def test_several_tasks_and_json(run):
    code, out, _ = run("cross-task", *PAIR, "-t", "ioi,numerals", *SMALL, "--json", "-")
    assert code == 0
    result = json.loads(out)
    assert result["schema"] == "circuitkit.experiment/1"
    assert [row["task"] for row in result["tables"]["tasks"]["rows"]] == ["ioi", "numerals"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("noise",), "needs two models and a task"),
        (("noise", *PAIR), "needs two models and a task"),
        (("guess",), "'guess' unknown; choose one of noise"),
        (("guess", *PAIR, "-t", "ioi"), "'guess' unknown; choose one of noise"),
        (("noise", *PAIR, "-t", "ioi,numerals"), "takes one task"),
        (("noise", *PAIR, "-t", "ioi", "--levels", "some"), "--levels 'some' not understood"),
        (("noise", *PAIR, "-t", "ioi", "--levels=-1"), "from 0 up"),
        (("mlp", *PAIR, "-t", "ioi", "--levels", "1"), "does not take --levels"),
        (("threshold", *PAIR, "-t", "ioi", "--levels", "2"), "cannot be a threshold"),
        (("mlp", "toy-gpt3", PAIR[1], "-t", "ioi"), "toy-gpt3"),
        (("mlp", *PAIR, "-t", "ioi", "--batch-size", "x"), "--batch-size"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, args, message):
    code, out, err = run(*args, *SMALL)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_an_interrupted_experiment_goes_on(tmp_path):
    args = ["experiment", "noise", *PAIR, "-t", "ioi", *SMALL, "--where", "forward", "--levels", "0:1:0.1"]
    command = [sys.executable, "-c", SLOWLY, *args, "--repeats", "1", "--out", "here"]
    kept = tmp_path / ".here.partial"
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(kept.glob("*/*.safetensors")) or len(list(kept.glob("*/*.safetensors"))) < 4:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on there" in err
    found = len(list(kept.glob("*/*.safetensors")))
    stamps = {file: file.stat().st_mtime_ns for file in kept.glob("*/*.safetensors")}
    again = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=200)
    assert again.returncode == 0
    assert found == len(stamps)
    study = Study.load(tmp_path / "here")
    assert len(study.frame("levels")) == 11
    assert not kept.exists()
