"""`circuitkit experiment battery` as users meet it, with the students that need no training."""

import json
from pathlib import Path

import pytest

from circuitkit.cli.main import main
from circuitkit.experiments.battery.laws import LAWS
from circuitkit.experiments.battery.scores import SCORES
from circuitkit.experiments.study import Study

UNTRAINED = "identity,heads-permuted,stream-rotated,initialised,random"


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Call the program in an empty folder; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        code = main(["experiment", "battery", *map(str, args)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_a_battery_leaves_a_run_and_a_page(run):
    code, out, err = run("--students", UNTRAINED, "--tasks", "numerals", "-n", 8, "--bootstrap", 10, "--out", "here")
    assert code == 0, err
    study = Study.load(Path("here"))
    laws = study.frame("laws").set_index("score")
    assert list(laws.index) == [score.key for score in SCORES]
    assert list(laws) == list(LAWS)
    assert laws.loc["F", ["invariance", "ceiling"]].tolist() == ["kept", "kept"]
    assert laws.loc["A", "invariance"] == "broken, 1 of 1"
    assert laws.loc["F", "shortcut"] is None
    students = study.frame("students")
    assert students["student"].tolist() == UNTRAINED.split(",")
    assert students["F"].tolist()[:3] == pytest.approx([1, 1, 1], abs=1e-4)
    assert students["broken"][0] == 1
    assert "F keeps" in err
    assert all(title in Path("here/report.html").read_text() for title in ("Laws that scores keep", "Every student"))
    assert json.loads(Path("here/result.json").read_text())["models"].keys() == {"gpt2"}
    assert not Path(".here.partial").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("toy-gpt2",), "The battery makes its own students and takes no model; leave 'toy-gpt2' out."),
        (("--families", "gpt2,opt"), "Family 'opt' unknown in the battery; choose among gpt2, bert, llama."),
        (("--families", "gpt2,"), "--families 'gpt2,' holds an empty name"),
        (("--tasks", "months"), "Task 'months' unknown in the battery; choose among ioi, numerals."),
        (("--students", "clever"), "Student 'clever' unknown in the battery"),
        (("--seeds", "0"), "Number of seeds 0 is too small; give 1 or more."),
        (("--levels", "1"), "The battery does not take --levels; it takes --families"),
        (("--batch-size", "4"), "The battery does not take --batch-size"),
        (("-n", "3"), "Number of prompts 3 is too small; give 4 or more."),
        (
            ("--families", "bert", "--students", "stream-rotated"),
            "Student 'stream-rotated' can be made of a gpt2 or llama only; bert was asked for.",
        ),
    ],
)
def test_what_a_battery_cannot_be_made_of_is_said(run, args, message):
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert message in err.replace("\n", " ")


def test_other_experiments_take_no_option_of_the_battery(capsys):
    assert main(["experiment", "noise", "toy-gpt2", "toy-distilgpt2", "-t", "ioi", "--seeds", "2"]) == 2
    assert "Only the battery takes --seeds" in capsys.readouterr().err
