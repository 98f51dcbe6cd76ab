"""What is refused is refused before a word is printed of the earlier run, which then stays."""

import pytest

from circuitkit.cli.main import main

PAIR = ("toy-gpt2", "toy-distilgpt2")
FEW = ("-n", "6", "--bootstrap", "0")
COMMANDS = {
    "align": (*PAIR, "-t", "numerals"),
    "influence": ("toy-gpt2", "-t", "numerals"),
    "discover": ("toy-gpt2", "-t", "numerals"),
    "compare": (*PAIR, "-t", "numerals"),
    "probe": (*PAIR, "-t", "numerals"),
    "patch": ("toy-gpt2", "-t", "numerals"),
    "experiment": ("noise", *PAIR, "-t", "numerals"),
    "roles": ("toy-gpt2", "-t", "numerals"),
    "reproduce": ("distilled-circuits", "--pairs", "toy-gpt2/toy-distilgpt2", "-t", "numerals"),
}
EVERY = [("--bootstrap", "-1"), ("-n", "0"), ("--device", "abacus"), ("--dtype", "float8"), ("--batch-size", "0")]
OWN = {
    "align": [("--similarity", "pattern", "--top-k", "0"), ("-t", "numerals,nowhere")],
    "influence": [("--data", "nowhere.csv")],
    "discover": [
        ("--threshold", "1.5"),
        ("--tau", "0.1"),
        ("--method", "eap", "--top", "99999"),
        ("--sweep", "0.1,7"),
        ("--sweep", "0.1,0.1"),
    ],
    "compare": [("--threshold", "1.5"), ("--method", "eap", "--top", "99999")],
    "probe": [("--folds", "1"), ("--target", "IO"), ("--at", "n9"), ("--controls", "0"), ("--strength", "0")],
    "patch": [("--parts", "head,z"), ("--parts", "tail"), ("--components", "L9H9"), ("--parts", "mlp,mlp")],
    "experiment": [
        ("--levels", "-1,0"),
        ("--levels", "0,0"),
        ("--repeats", "0"),
        ("--search", "prune"),
        ("--unit", "rms", "--similarity", "cka"),
        ("--similarity", "cka"),
        ("-t", "numerals,ioi"),
    ],
    "roles": [("--alpha", "2"), ("--min-attention", "2"), ("--min-effect", "-1"), ("--min-write", "2")],
    "reproduce": [("--studies", "nose"), ("-t", "nowhere"), ("--pairs", "toy-gpt2"), ("--pairs", "./a:./b")],
}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A run that stands where every other run of these tests is to go."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["influence", *COMMANDS["influence"], *FEW, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize(
    ("command", "wrong"), [(name, wrong) for name, own in OWN.items() for wrong in (*EVERY, *own)], ids=str
)
def test_a_refusal_is_all_that_is_said(earlier, capsys, command, wrong):
    before = (earlier / "result.json").read_bytes()
    code = main([command, *COMMANDS[command], *FEW, *wrong, "--out", str(earlier)])
    said = capsys.readouterr()
    assert code == 2, said
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1, said.err
    assert (earlier / "result.json").read_bytes() == before


@pytest.mark.parametrize(
    ("levels", "study"), [(("--levels", "0.2,1.5"), "threshold"), (("--levels", "0,2"), "threshold")]
)
def test_levels_are_those_of_the_study(earlier, capsys, levels, study):
    assert main(["experiment", study, *PAIR, "-t", "numerals", *FEW, *levels, "--out", str(earlier)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_replacing_is_said_once_and_before_the_tables(earlier, capsys):
    for _ in range(2):
        args = ["align", *PAIR, "-t", "numerals,ioi", *FEW, "--null", "none", "--out", str(earlier)]
        assert main(args) == 0
        said = capsys.readouterr().err
        assert said.count("This run replaces the earlier run in") == 1
        assert said.startswith("This run replaces")
