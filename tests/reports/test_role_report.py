"""The page of roles: what it says, what it refuses, and what a browser makes of it."""

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
import torch

from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import load_run, save_run
from circuitkit.models.loading import load_model
from circuitkit.reports.html import render, report
from circuitkit.reports.role_pages import role_page
from circuitkit.reports.role_verdict import role_verdict
from circuitkit.roles.assign import find_roles
from circuitkit.tasks.loading import load_task

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --v=0 --virtual-time-budget=120000"
).split()
READER = """
<script>
let tries = 0;
const sheets = () => document.querySelectorAll(".sheet canvas").length;
const waiting = setInterval(() => {
  if (sheets() < 2 && ++tries < 400) return;
  clearInterval(waiting);
  const buttons = [...document.querySelectorAll(".choices button")].map((b) => b.textContent);
  const title = () => document.querySelector(".heads h4").textContent;
  const [first, drawn] = [title(), sheets()];
  document.querySelectorAll(".choices button")[1].click();
  const seen = { canvases: drawn, buttons, first, second: title(),
    requests: performance.getEntriesByType("resource").map((e) => e.name) };
  document.documentElement.dataset.seen = btoa(JSON.stringify(seen));
}, 250);
</script>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    result = find_roles(load_model("toy-bert"), load_task("ioi"), n_prompts=24, bootstrap=50)
    return result.save(tmp_path_factory.mktemp("roles") / "run")


def test_the_page_shows_claims_with_their_numbers(folder):
    run = load_run(folder)
    page = role_page(run.result, run.tensors)
    claimed = {(name, role) for name, held in run.result["roles"].items() for role in held}
    assert {(c.head, c.role) for c in page["claims"]} == claimed and claimed
    assert [row.name for row in page["rows"]][0] == "L0H3"
    picture = page["pictures"][0]
    assert {(r.head, r.role) for r in picture.readings} == claimed
    mover = next(r for r in picture.readings if r.role == "name-mover")
    (place,) = mover.places
    names = [shown.head for shown in picture.example.heads]
    pattern = run.tensors["example0.patterns"][names.index(mover.head)]
    (query, key), *none = run.result["examples"][0]["reads"]["name-mover"]
    assert none == [] and place.query == picture.example.tokens[query] == "[MASK]"
    assert place.keys == ((picture.example.tokens[key], pytest.approx(float(pattern[query, key]))),)
    text = render(run)
    assert "L0H3 duplicate-token" in text and "post-LN" in text
    for definition in run.result["definitions"].values():
        assert definition["title"].split(":")[0] in text


def test_roles_that_hurt_and_parts_of_other_roles_are_told(folder):
    run = load_run(folder)
    result = json.loads(json.dumps(run.result))
    assert "measured at labels that repeat an earlier label" in render(run)
    head, role = "L0H3", "duplicate-token"
    assert result["scores"][head][role]["effect"] == "helps" and f"{role} (helps)" not in render(run)
    result["definitions"][role]["helps"] = False
    result["scores"][head][role]["effect"] = "hurts"
    for tests in result["scores"].values():
        for score in tests.values():
            score["implied_by"] = []
    result["scores"]["L3H0"]["copy"] |= {"claimed": True, "implied_by": ["name-mover"]}
    page = role_page(result, run.tensors)
    assert f"{head} {role} (hurts)" in page["verdict"].headline
    assert next(row for row in page["rows"] if row.name == head).roles == (f"{role} (hurts)",)
    assert f"{role} (hurts)" in page["attention"][0]["model"]["notes"]
    text = render(replace(run, result=result))
    assert "listed as name-mover" in text and "claimed, and 1 listed as name-mover or numeral-mover instead" in text


def test_claims_stand_beside_the_false_rate_that_decides_and_direct_effects_beside_whole_ones(folder):
    run = load_run(folder)
    text = render(run)
    assert "where r is at most alpha, 0.05" in text and ">r</th>" in text and ">q</th>" not in text
    result = json.loads(json.dumps(run.result))
    head, role = next((name, held[0]) for name, held in result["roles"].items() if held)
    assert "direct 1.25" not in text and "of 4.75" not in text
    result["definitions"][role]["write"] = "indirect"
    result["scores"][head][role]["evidence"]["write"] = {"score": 1.25, "p": 0.0, "baseline": 4.75}
    result["scores"][head][role] |= {"q": 0.777, "r": 0.012}
    text = render(replace(run, result=result))
    assert "<td>direct 1.25<td>of 4.75" in text and "<td>0.012<" in text and "0.777" not in text
    for tests in result["scores"].values():
        for score in tests.values():
            del score["r"]
    old = render(replace(run, result=result))
    assert "where q is at most alpha" in old and ">q</th>" in old and ">r</th>" not in old and "<td>0.777<" in old


def test_without_causal_evidence_the_page_does_not_speak_of_tests(folder):
    run = load_run(folder)
    none = run.result | {"roles": dict.fromkeys(run.result["roles"], []), "examples": []}
    told = role_verdict(role_page(none, run.tensors)["record"]).support
    assert any("tests is the evidence enough to claim it with 5% false claims at most" in line for line in told)
    why = "No role is claimed: no causal evidence can be had, because the task has no corrupted prompts."
    told = role_verdict(role_page(none | {"warnings": [why]}, run.tensors)["record"]).support
    assert why in told and not any("tested for" in line for line in told)


def test_without_roles_the_page_says_so(folder, tmp_path):
    run = load_run(folder)
    result = run.result | {"roles": dict.fromkeys(run.result["roles"], []), "examples": []}
    record = role_page(result, run.tensors)["record"]
    assert role_verdict(record).headline.startswith("On ioi, no head of toy-bert can be shown")
    saved = save_run(tmp_path / "none", result | {"tensors": {}}, {}, {})
    text = report(saved).read_text(encoding="utf-8")
    assert "No role is claimed" in text and 'id="packed-circuitsvis"' not in text


def test_broken_results_are_named(folder):
    run = load_run(folder)
    with pytest.raises(ResultError, match="roles"):
        role_page({k: v for k, v in run.result.items() if k != "roles"}, run.tensors)
    with pytest.raises(ResultError, match="example0.patterns"):
        role_page(run.result, run.tensors | {"example0.patterns": torch.zeros(1, 2, 2)})
    first = run.result["examples"][0]
    far = run.result | {"examples": [first | {"reads": {"name-mover": [[999, 0]]}}]}
    with pytest.raises(ResultError, match="reads"):
        role_page(far, run.tensors)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the report is not opened in a browser")
def test_a_browser_draws_every_head(folder, tmp_path):
    text = report(folder, tmp_path / "roles.html").read_text(encoding="utf-8")
    page = tmp_path / "page.html"
    page.write_text(text.replace("</body>", READER + "</body>"), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stdout[-500:]
    seen = json.loads(base64.b64decode(found[1]).decode("utf-8"))
    assert seen["canvases"] == 2 and seen["requests"] == []
    assert seen["first"] == "L0H3: duplicate-token" and seen["second"].startswith("L3H")
    assert "L0H3" in seen["buttons"]
