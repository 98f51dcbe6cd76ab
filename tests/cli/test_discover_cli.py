"""`circuitkit discover` and `circuitkit compare` as scripts and users meet them."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import build_raw, save
from transformers import AutoModelForCausalLM

from circuitkit.cli.main import main
from circuitkit.discovery.circuit import Circuit
from circuitkit.discovery.circuit_runs import CircuitRuns

PROGRAM = "import torch; torch.set_num_threads(1); from circuitkit.cli.main import run; run()"
SLOWLY = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
import time
from circuitkit.interventions.circuit_runner import CircuitRunner
run_at_once = CircuitRunner.run
CircuitRunner.run = lambda self, kept: (time.sleep(0.1), run_at_once(self, kept))[1]
{PROGRAM}
"""  # so that there is something to stop, however busy the machine is
TEXT = "When {0} and {1} went to the store, {1} gave a ring to"
OPTIONS = {
    "prune": ("--threshold", 0.5),
    "path-patching": ("--threshold", 0.5, "--node-threshold", 0.4),
    "acdc": ("--tau", 0.5),
    "eap": ("--top", 12),
    "eap-ig": ("--top", 12, "--steps", 2),
    "influence": ("--top", 3),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder with a file of prompts in it."""
    monkeypatch.chdir(tmp_path)
    names = [("Mary", "John"), ("Tom", "James"), ("John", "Tom"), ("James", "Mary"), ("Mary", "Tom"), ("Tom", "John")]
    rows = [
        {"clean": TEXT.format(a, b), "corrupted": TEXT.format("Dan", "Sid"), "correct": f" {a}", "incorrect": f" {b}"}
        for a, b in names
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture(scope="module")
def small_dir(tmp_path_factory, tiny_tokenizers):
    """A random GPT-2 of two blocks."""
    tokenizer = tiny_tokenizers["gpt2"]
    raw = build_raw("gpt2", vocab_size=len(tokenizer), n_layers=2, seed=3)
    return save(raw, tokenizer, tmp_path_factory.mktemp("small") / "small-gpt2")


@pytest.fixture
def run(capsys):
    """Call the program; its exit code, standard output and standard error."""

    def call(*args):
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize("method", OPTIONS)
def test_json_is_clean_and_the_run_is_whole(run, place, method):
    args = "discover", "toy-gpt2", "-t", "numerals", "-n", 6, "--method", method, "--bootstrap", 10
    code, out, err = run(*args, *OPTIONS[method], "--json", "-")
    assert code == 0, err
    result = json.loads(out)
    assert result["schema"] == "circuitkit.circuit/1"
    assert result["command"].split()[0] == "circuitkit"
    assert method in err
    folder = place / "runs" / f"discover-toy-gpt2-numerals-{method}"
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "result.json", "tensors.safetensors"]
    assert Circuit.load(folder).to_dict() == result
    assert [p.name for p in (place / "runs").iterdir()] == [folder.name]  # nothing half done is left
    before = (folder / "report.html").read_bytes()
    assert run("report", folder)[0] == 0
    assert (folder / "report.html").read_bytes() == before
    assert f"{len(result['nodes'])} of 20" in err


def test_the_same_command_gives_the_same(run, place):
    args = "discover", "toy-gpt2", "-t", "numerals", "-n", 6, "--method", "influence", "--bootstrap", 10, "--out", "x"
    first = run(*args, "--json", "a.json")
    second = run(*args, "--json", "b.json")
    assert first[:2] == second[:2]
    one, two = (json.loads((place / name).read_text()) for name in ("a.json", "b.json"))
    assert {**one, "command": ""} == {**two, "command": ""}
    assert "replaces the earlier run" in second[2]


def test_a_sweep_in_one_command(run, place):
    args = "discover", "toy-gpt2", "-t", "numerals", "-n", 6, "--method", "influence", "--bootstrap", 10
    for _ in range(2):
        code, out, err = run(*args, "--sweep", "2,5", "--out", "swept", "--json", "-")
        assert code == 0, err
    result = json.loads(out)
    assert result["schema"] == "circuitkit.circuit-sweep/1"
    assert [point["n_nodes"] for point in result["points"]] == [2, 5]
    assert {p.name for p in (place / "swept").iterdir()} == {"result.json", "report.html", "top-2", "top-5"}
    assert len(Circuit.load(place / "swept" / "top-5").nodes) == 5
    assert run("report", place / "swept" / "top-5")[0] == 0


@pytest.mark.parametrize("sweep", [False, True])
def test_16_bits_are_computed_with_in_float32_unless_asked_for(run, place, small_dir, tiny_tokenizers, sweep):
    raw = AutoModelForCausalLM.from_pretrained(small_dir, dtype=torch.bfloat16)
    save(raw, tiny_tokenizers["gpt2"], place / "half")
    what = ("--sweep", "3,4") if sweep else ("--top", 3)
    args = "discover", "half", "-t", "prompts.jsonl", "--method", "influence", *what, "--bootstrap", 10, "--json", "-"
    found = {}
    for dtype in ("auto", "float32", "bfloat16"):
        code, out, err = run(*args, "--dtype", dtype, "--out", dtype)
        assert code == 0, err
        found[dtype] = json.loads(out)
    assert [result["dtype"] for result in found.values()] == ["float32", "float32", "bfloat16"]
    numbers = "points" if sweep else "faithfulness"
    assert found["auto"][numbers] == found["float32"][numbers] != found["bfloat16"][numbers]
    assert found["auto"]["model"] == found["float32"]["model"]
    said = {dtype: " ".join(result["warnings"]) for dtype, result in found.items()}
    assert "float32 arithmetic on its weights as stored in bfloat16; --dtype bfloat16" in said["auto"]
    assert "bfloat16" not in said["float32"]
    assert "ran in bfloat16" in said["bfloat16"]
    assert "--dtype float32" in said["bfloat16"]


def test_two_models_of_16_bits_side_by_side(run, place, small_dir, tiny_tokenizers):
    raw = AutoModelForCausalLM.from_pretrained(small_dir, dtype=torch.bfloat16)
    save(raw, tiny_tokenizers["gpt2"], place / "half")
    args = "compare", "half", "half", "-t", "prompts.jsonl", "--method", "influence", "--top", 3, "--bootstrap", 10
    for dtype, found in (("auto", "float32"), ("bfloat16", "bfloat16"), ("float32", "float32")):
        code, out, err = run(*args, "--dtype", dtype, "--out", dtype, "--json", "-")
        assert code == 0, err
        result = json.loads(out)
        assert {circuit["dtype"] for circuit in result["circuits"].values()} == {found}
        assert result["dtype"] == ("float32" if dtype == "float32" else "bfloat16")  # of the alignment


def test_two_models_side_by_side(run, place):
    args = "compare", "toy-gpt2", "toy-distilgpt2", "-t", "numerals", "-n", 6, "--method", "influence", "--top", 3
    for _ in range(2):
        code, out, err = run(*args, "--bootstrap", 10, "--out", "both", "--json", "-")
        assert code == 0, err
    result = json.loads(out)
    assert result["schema"] == "circuitkit.comparison/1"
    assert len(result["circuits"]["teacher"]["nodes"]) == len(result["circuits"]["student"]["nodes"]) == 3
    assert {p.name for p in (place / "both").iterdir()} == {
        *("result.json", "report.html", "teacher", "student", "alignment", "teacher-roles", "student-roles")
    }
    assert "alignment A" in err
    assert "no head of either model can be shown" in err  # of 6 prompts nothing is claimed
    assert run("report", place / "both" / "student")[0] == run("report", place / "both" / "student-roles")[0] == 0


def test_roles_of_two_models_as_a_table(run, place):
    args = "compare", "toy-gpt2", "toy-distilgpt2", "-t", "ioi", "-n", 32, "--method", "influence", "--top", 6
    code, out, err = run(*args, "--bootstrap", 50, "--out", "both", "--json", "-")
    assert code == 0, err
    roles = json.loads(out)["roles"]
    assert "Table 1 of Distilled Circuits" in err and "merged in" in err
    for name in roles["roles"]:
        assert name in err
    page = (place / "both" / "report.html").read_text(encoding="utf-8")
    assert "What the heads do" in page and "copy-suppression" in page
    for side in ("teacher", "student"):
        for name, found in roles["components"][side].items():
            inside = name in json.loads(out)["circuits"][side]["nodes"]
            assert (found["circuit_minus_head"] is not None) == inside
    code, out, err = run(*args, "--bootstrap", 0, "--no-roles", "--out", "both", "--json", "-")
    assert code == 0 and json.loads(out)["roles"] is None and "merged in" not in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("-t", "ioi,numerals"), "one task only"),
        (("-t", "nonsense"), "nonsense"),
        (("-t", "ioi", "--method", "guess"), "guess"),
        (("-t", "ioi", "--tau", "0.1"), "does not take --tau"),
        (("-t", "ioi", "--method", "acdc", "--threshold", "0.1"), "does not take --threshold"),
        (("-t", "ioi", "--method", "acdc", "--tau", "nan"), "no finite number"),
        (("-t", "ioi", "--method", "acdc", "--metric", "probability"), "acdc"),
        (("-t", "ioi", "--method", "eap", "--sequential"), "does not take --sequential"),
        (("-t", "ioi", "--method", "eap", "--top", "3", "--min-effect", "1"), "give one of them"),
        (("-t", "ioi", "--method", "eap", "--top", "3", "--sweep", "3,4"), "--sweep gives the values of --top"),
        (("-t", "ioi", "--method", "eap", "--sweep", "3,x"), "--sweep '3,x' not understood"),
        (("-t", "ioi", "--method", "eap", "--sweep", "3,inf"), "inf cannot be a top"),
        (("-t", "ioi", "--method", "acdc", "--sweep", "0.1,nan"), "nan cannot be a tau"),
        (("-t", "ioi", "--sweep", "0.1,0.1"), "each once"),
        (("-t", "ioi", "--batch-size", "0"), "--batch-size '0'"),
        (("-t", "ioi", "--judge", "some"), "some"),
        (("-t", "ioi", "--bootstrap", "-1"), "-1 bootstrap draws"),
        (("-t", "ioi", "--seed", "-1"), "seed"),
        (("-t", "ioi", "--n-prompts", "0"), "0"),
        (("-t", "ioi", "--dtype", "int8"), "int8"),
        (("-t", "ioi", "--json", "no/such/file"), "no directory"),
        (("-t", "ioi", "--out", "."), "current directory"),
        ((), "--task"),
    ],
)
def test_bad_input_is_one_line(run, place, args, said):
    commands = [("discover", "toy-gpt2")]
    if "--sweep" not in args:
        commands.append(("compare", "toy-gpt2", "toy-distilgpt2"))
    for command in commands:
        code, out, err = run(*command, *args)
        assert code == 2
        assert out == ""
        assert said in err
        assert len(err.strip().splitlines()) == 1
        assert not (place / "runs").exists()


@pytest.mark.parametrize("method", ["eap", "eap-ig", "influence"])
@pytest.mark.parametrize("least", ["0", "-1", "nan", "inf"])
def test_a_least_effect_is_refused_before_the_model_is_loaded(run, place, method, least):
    for command in (("discover", "no-such-model"), ("compare", "no-such-model", "nor-this")):
        code, out, err = run(*command, "-t", "ioi", "--method", method, "--min-effect", least)
        assert (code, out) == (2, "")
        assert f"--min-effect {least}" in err
        assert len(err.strip().splitlines()) == 1


def test_a_model_that_cannot_do_the_task_is_one_line(run, place, small_dir):
    code, out, err = run("discover", small_dir, "-t", "prompts.jsonl")
    assert (code, out) == (2, "")
    assert "not clearly above 0" in err.splitlines()[-1]
    assert run("discover", small_dir, "-t", "prompts.jsonl", "--method", "acdc", "--bootstrap", 0)[0] == 0


def _result(folder):
    result = json.loads((folder / "result.json").read_text())
    return {**result, "command": None}


def test_an_interrupted_search_says_what_is_kept_and_goes_on(run, place, small_dir, monkeypatch):
    args = "discover", small_dir, "-t", "prompts.jsonl", "--method", "acdc", "--bootstrap", 10

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    assert run(*args, "--out", "whole")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(CircuitRuns, "run", interrupted)
        code, out, err = run(*args, "--out", "again")
    assert (code, out) == (130, "")
    assert "the same command goes on" in err.replace("\n", " ")
    assert "Traceback" not in err
    assert not (place / "again").exists()
    with monkeypatch.context() as patch:  # edges need not be tried again
        patch.setattr("circuitkit.discovery.recorded.RecordedMean._keep", interrupted)
        assert run(*args, "--out", "again")[0] == 0
    assert _result(place / "again") == _result(place / "whole")
    assert (place / "again" / "tensors.safetensors").read_bytes() == (
        place / "whole" / "tensors.safetensors"
    ).read_bytes()
    assert not (place / ".again.partial").exists()


def test_a_stopped_process_goes_on(place, small_dir, run):
    """Killed, started again and interrupted, and started again."""
    args = (
        "discover",
        str(small_dir),
        "-t",
        "prompts.jsonl",
        "--method",
        "acdc",
        "--tau",
        "0.001",
        "--bootstrap",
        "10",
    )
    slow = (*args, "--sequential", "--out", "stopped")
    kept = place / ".stopped.partial"
    for how, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        _stop(slow, kept, how, code)
        assert not (place / "stopped").exists()
    code, _, err = run(*slow)
    assert code == 0, err
    assert run(*args, "--sequential", "--out", "whole")[0] == 0
    assert _result(place / "stopped") == _result(place / "whole")
    assert not kept.exists()


def _values(kept):
    """How many circuits have been measured and written down."""
    return sum(len(load_file(file)["values"]) for file in kept.glob("*/acdc-*.safetensors"))


def _stop(args, kept, how, code):
    """Start a process and stop it when it has measured more than there was."""
    before, end = _values(kept), time.monotonic() + 120
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while _values(kept) == before and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(how)
    out, err = process.communicate()
    assert process.returncode == code, err
    assert out == b""
    assert b"Traceback" not in err
    assert _values(kept) > before
