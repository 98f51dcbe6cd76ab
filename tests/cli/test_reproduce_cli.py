"""`circuitkit reproduce` from outside."""

import json

from circuitkit.cli.main import main


def test_a_reproduction_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = "reproduce distilled-circuits --pairs toy-bert/toy-distilbert,nobody/toy-gpt2 --tasks numerals -n 12"
    code = main([*args.split(), *"--bootstrap 0 --studies robustness,cross-task --json - --out runs/r".split()])
    out, err = capsys.readouterr()
    assert code == 0
    result = json.loads(out)
    assert result["schema"] == "circuitkit.reproduction/1"
    assert [s["what"] for s in result["skipped"]] == ["nobody/toy-gpt2"]
    assert "nobody/toy-gpt2: skipped: nobody is not in the local hub cache" in err
    assert "toy-bert/toy-distilbert cross-task:" in err
    assert (tmp_path / "runs/r/report.html").exists()
    assert (tmp_path / "runs/r/toy-bert-toy-distilbert-robustness-numerals/result.json").exists()
    assert not (tmp_path / "runs/.r.partial").exists()


def test_mistakes_are_told_in_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for args, words in (
        ("reproduce another-paper", "another-paper"),
        ("reproduce distilled-circuits --pairs gpt2", "--pairs 'gpt2'"),
        ("reproduce distilled-circuits --pairs nobody/toy-gpt2", "No pair to run"),
        ("reproduce distilled-circuits --studies noise,,mlp", "--studies"),
        ("reproduce distilled-circuits --pairs toy-gpt2/toy-distilgpt2 --tasks nothing", "nothing"),
    ):
        assert main(args.split()) == 2
        err = capsys.readouterr().err
        assert words in err
        assert err.strip().splitlines()[-1].startswith("circuitkit: ")
    assert not list(tmp_path.rglob("result.json"))
