"""What the terminal says of a circuit, against the result that is written."""

import json

import pytest

from circuitkit.cli.main import main


@pytest.mark.parametrize(("method", "size"), [("influence", 6), ("eap", 60)])
def test_the_summary_says_what_a_reader_could_mistake(capsys, tmp_path, monkeypatch, method, size):
    monkeypatch.chdir(tmp_path)
    command = ["discover", "toy-gpt2", "-t", "ioi", "--method", method, "--top", str(size), "-n", "8"]
    assert main([*command, "--bootstrap", "20", "--json", "-", "--out", "run"]) == 0
    captured = capsys.readouterr()
    result, lines = json.loads(captured.out), [" ".join(line.split()) for line in captured.err.splitlines()]
    judged, accuracy = result["faithfulness"], result["faithfulness"]["accuracy"]

    for name, circuit, model in (
        ("answer above the distractor", accuracy["circuit"], accuracy["model"]),
        ("answer above all tokens", accuracy["circuit_top1"], accuracy["model_top1"]),
    ):
        assert f"{name} {circuit:.0%} (model {model:.0%})" in lines
    share = judged["circuit_logit_diff"] / judged["model_logit_diff"]
    assert any(line.startswith(f"of the circuit, share of the model's {share:.3f}") for line in lines)
    assert result["evaluations"] == 0  # the size was given, so none was run to find it
    assert not any("circuits run" in line for line in lines)
    assert ("gradients taken of each prompt 1" in lines) == (method == "eap")

    drops = {name: effect["drop"] for name, effect in result["node_effects"].items()}
    strongest = max(drops, key=lambda name: abs(drops[name]))
    assert f"│ {strongest} │ {drops[strongest]:.3f} │ - │" in lines
    assert ("│ sender │ receiver │ effect │" in [line.replace("┃", "│") for line in lines]) == (method == "eap")
