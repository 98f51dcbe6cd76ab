"""One prompt has no interval: none is written, printed or drawn, and the reader is told why."""

import json
import re

import pytest

from circuitkit.cli.main import main

COMMANDS = {
    "influence": ("influence", "toy-gpt2"),
    "discover nodes": ("discover", "toy-gpt2", "--method", "influence", "--top", "5", "--judge", "full"),
    "discover edges": ("discover", "toy-gpt2", "--method", "eap", "--top", "60", "--judge", "full"),
    "align": ("align", "toy-gpt2", "toy-distilgpt2"),
    "compare": ("compare", "toy-gpt2", "toy-distilgpt2", "--method", "eap", "--top", "60"),
}
MARKUP = re.compile(r"<(script|style)\b.*?</\1>|<[^>]+>", re.DOTALL)
NUMBER = r"-?\d[\d.]*"
SPAN = re.compile(rf"\[{NUMBER}, {NUMBER}\]|{NUMBER} to {NUMBER} (?:logits|at)|interval {NUMBER}")


def _intervals(value, inside=False):
    """Everything under a key that ends in ci95, but for nothing."""
    if isinstance(value, dict):
        return [x for key, item in value.items() for x in _intervals(item, inside or key.endswith("ci95"))]
    if inside:
        return [] if value is None or isinstance(value, str) else [value]
    return [x for item in value for x in _intervals(item)] if isinstance(value, list) else []


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_one_prompt_has_no_interval(capsys, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    found = {}
    for n in (1, 2):
        args = [*command, "-t", "ioi", "-n", str(n), "--bootstrap", "20", "--device", "cpu", "--out", f"run-{n}"]
        assert main([*args, "--json", "-"]) == 0
        printed = capsys.readouterr()
        page = (tmp_path / f"run-{n}" / "report.html").read_text(encoding="utf-8")
        found[n] = json.loads(printed.out), printed.err, MARKUP.sub(" ", page)
    for said in found[2][1:]:  # the same command on two prompts: what is looked for is there
        assert SPAN.search(said)
        assert "One prompt cannot show" not in said
    result, *texts = found[1]
    assert _intervals(found[2][0])
    assert _intervals(result) == []
    for said in texts:
        assert not SPAN.search(said), SPAN.search(said)
        assert re.search(r"One prompt cannot show.*intervals are not given", " ".join(said.split()))
    assert any("intervals are not given" in warning for warning in result["warnings"])
