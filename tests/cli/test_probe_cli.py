"""`circuitkit probe` as scripts and users meet it."""

import json

import pytest

from circuitkit.cli.main import main


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Call the program in an empty folder; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


QUICK = "-n", 200, "--controls", 1, "--bootstrap", 20, "--target", "element-4"


def test_json_is_clean_and_the_run_is_whole(run, tmp_path):
    code, out, err = run("probe", "toy-gpt2", "toy-distilgpt2", "-t", "numerals", *QUICK, "--json", "-")
    assert code == 0, err
    result = json.loads(out)
    assert result["schema"] == "circuitkit.probe/1"
    assert [(curve["who"], curve["target"]) for curve in result["curves"]] == [
        ("model", "element-4"),
        ("student", "element-4"),
    ]
    assert result["curves"][0]["decodable_from"] == "L0"
    assert "64 fits: 1 target, 2 models" in err and "64 fits took" in err
    folder = tmp_path / "runs" / "probe-toy-gpt2-toy-distilgpt2-numerals-element-4"
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "result.json", "tensors.safetensors"]
    assert [p.name for p in (tmp_path / "runs").iterdir()] == [folder.name]
    before = (folder / "report.html").read_bytes()
    assert run("report", folder)[0] == 0
    assert (folder / "report.html").read_bytes() == before


def test_an_interrupted_run_says_what_is_kept_and_goes_on(run, tmp_path, monkeypatch):
    args = "probe", "toy-distilgpt2", "-t", "numerals", *QUICK
    assert run(*args, "--out", "whole")[0] == 0

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("circuitkit.probes.plan.judge_curve", interrupted)
        code, out, err = run(*args, "--out", "again")
    assert (code, out) == (130, "")
    assert "the same command goes on" in err.replace("\n", " ")
    with monkeypatch.context() as patch:  # nothing is fitted again
        patch.setattr("circuitkit.probes.plan.probe_row", interrupted)
        assert run(*args, "--out", "again")[0] == 0
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "again")]
    assert {**results[0], "command": None} == {**results[1], "command": None}
    assert not (tmp_path / ".again.partial").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("-t", "ioi,numerals"), "one task only"),
        (("-t", "ioi", "--target", "IO,,S"), "empty name"),
        (("-t", "ioi", "--target", "nothing"), "none of task 'ioi'"),
        (("-t", "ioi", "--target", "IO", "-n", "40"), "Give about 256 prompts"),
        (("-t", "ioi", "--of", "pattern"), "pattern"),
        (("-t", "ioi", "--folds", "1"), "1 folds"),
        (("-t", "ioi", "--target", "IO", "--at", "nowhere"), "--at one of"),
        (("-t", "ioi", "--batch-size", "0"), "--batch-size '0'"),
        (("-t", "ioi", "--seed", "-1"), "seed"),
        ((), "--task"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, args, said):
    code, out, err = run("probe", "toy-gpt2", *args)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("change", [{"curves": []}, {"who": "student"}, {"best": "L99"}])
def test_a_broken_run_is_named(run, tmp_path, change):
    assert run("probe", "toy-distilgpt2", "-t", "numerals", *QUICK, "--out", "x")[0] == 0
    file = tmp_path / "x" / "result.json"
    result = json.loads(file.read_text())
    if "curves" in change:
        result |= change
    else:
        result["curves"][0] |= change
    file.write_text(json.dumps(result))
    code, _, err = run("report", "x")
    assert code == 2 and "Result is broken at" in err


def test_targets_given_one_by_one_are_those_given_with_commas(run, tmp_path):
    few = "-n", 200, "--controls", 1, "--bootstrap", 0, "--device", "cpu"
    targets = {"commas": ("--target", "element-4,next"), "each": ("--target", "element-4", "--target", "next")}
    probed = []
    for folder, given in targets.items():
        code, _, err = run("probe", "toy-gpt2", "-t", "numerals", *few, *given, "--out", folder)
        assert code == 0, err
        probed.append({**json.loads((tmp_path / folder / "result.json").read_text()), "command": None})
    assert probed[0] == probed[1]
    assert probed[1]["settings"]["targets"] == ["element-4", "next"]
