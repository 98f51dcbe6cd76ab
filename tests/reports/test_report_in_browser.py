"""What a browser makes of a report: figures drawn, tables sorted, nothing asked of any network."""

import json
import re
import shutil
import subprocess

import fake_circuit
import fake_run
import pytest

from circuitkit.core.run_directory import save_run
from circuitkit.reports.html import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --v=0 --virtual-time-budget=120000"
).split()
# Waits until everything is drawn (a busy machine takes longer), uses the page as a reader would, and writes down
# what it finds.
READER = """
<script>
let tries = 0;
const drawn = () => !document.querySelector(".fallback")
  && [...document.querySelectorAll(".plot")].every((p) => p.querySelector("svg.main-svg"))
  && (!document.querySelector(".sheet") || document.querySelectorAll(".sheet canvas").length >= 4);
const waiting = setInterval(() => {
  if (!drawn() && ++tries < 400) return;
  clearInterval(waiting);
  const column = (n) => [...document.querySelectorAll("#pairs tbody tr")].map((r) => r.cells[n].textContent.trim());
  const seen = { plots: [...document.querySelectorAll(".plot")].map((p) => [p.id, !!p.querySelector("svg.main-svg")]) };
  seen.fallbacks = document.querySelectorAll(".fallback").length;
  seen.canvases = document.querySelectorAll(".sheet canvas").length;
  if (document.getElementById("pairs")) {
    const head = document.querySelectorAll("#pairs thead th")[2];
    head.querySelector("button").click();
    seen.falling = [head.getAttribute("aria-sort"), column(2)];
    head.querySelector("button").click();
    seen.rising = [head.getAttribute("aria-sort"), column(2)];
    const filter = document.querySelector("[data-filter]");
    filter.value = "mlp"; filter.dispatchEvent(new Event("input"));
    seen.kept = [...document.querySelectorAll("#pairs tbody tr")].filter((r) => !r.hidden).length;
    document.querySelectorAll(".choices button")[1].click();
  }
  seen.requests = performance.getEntriesByType("resource").map((e) => e.name);
  document.documentElement.dataset.seen = btoa(JSON.stringify(seen));
}, 250);
</script>
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the report is not opened in a browser")


def look(file, tmp_path, reader=READER):
    page = tmp_path / "page.html"
    page.write_text(file.read_text(encoding="utf-8").replace("</body>", reader + "</body>"), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert seen, done.stdout[-500:]
    import base64

    return json.loads(base64.b64decode(seen[1]).decode("utf-8")), complaints


def test_alignment_report_works(tmp_path):
    file = report(fake_run.save_alignment(tmp_path / "run", fake_run.alignment_result()))
    seen, complaints = look(file, tmp_path)
    assert complaints == []
    assert seen["plots"] == [["teacher-map", True], ["student-map", True], ["drops", True]]
    assert seen["fallbacks"] == 0 and seen["requests"] == []
    assert seen["canvases"] == 4
    order, values = seen["falling"]
    assert order == "descending" and [float(v) for v in values] == sorted(map(float, values), reverse=True)
    order, values = seen["rising"]
    assert order == "ascending" and [float(v) for v in values] == sorted(map(float, values))
    assert seen["kept"] == 4


@pytest.mark.parametrize(("result", "plots"), [(fake_run.table_result(), 6), (fake_run.influence_result(), 1)])
def test_other_reports_work(result, plots, tmp_path):
    seen, complaints = look(report(save_run(tmp_path / "run", result, {}, {})), tmp_path)
    assert complaints == []
    assert [drawn for _, drawn in seen["plots"]] == [True] * plots
    assert seen["requests"] == [] and seen["fallbacks"] == 0


# Points at every component and edge in turn and measures every written name against its box.
POINTER = """
<script>
let tries = 0;
const waiting = setInterval(() => {
  if ([...document.querySelectorAll(".plot")].some((p) => !p.querySelector("svg.main-svg")) && ++tries < 400) return;
  clearInterval(waiting);
  const drawing = document.querySelector("svg.circuit");
  const readout = document.querySelector(`[data-readout="${drawing.id}"]`);
  const names = (selector) => [...drawing.querySelectorAll(selector)];
  const seen = { invited: !readout.hidden && readout.textContent, nodes: {}, edges: [], wide: [], focus: [] };
  for (const box of names("[data-node]")) {
    const text = box.querySelector("text:not(.badge)");
    if (text && text.getBBox().width > box.querySelector("rect").getBBox().width) seen.wide.push(text.textContent);
    box.dispatchEvent(new Event("pointerenter"));
    seen.nodes[box.dataset.node] = [readout.textContent,
      names("[data-from].lit").map((e) => [e.dataset.from, e.dataset.to]), names("[data-node].lit").length];
    box.dispatchEvent(new Event("pointerleave"));
  }
  seen.after = [names(".lit").length, readout.textContent];
  for (const line of names(".hit")) {
    line.dispatchEvent(new Event("pointerenter"));
    seen.edges.push([readout.textContent, names("[data-node].lit").map((n) => n.dataset.node)]);
    line.dispatchEvent(new Event("pointerleave"));
  }
  const boxes = names("[data-node]");
  boxes[0].focus();
  for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft"]) {
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    seen.focus.push(boxes.indexOf(document.activeElement));
  }
  seen.stops = boxes.filter((b) => b.getAttribute("tabindex") === "0").length;
  seen.plots = document.querySelectorAll(".plot").length;
  seen.requests = performance.getEntriesByType("resource").map((e) => e.name);
  document.documentElement.dataset.seen = btoa(unescape(encodeURIComponent(JSON.stringify(seen))));
}, 250);
</script>
"""


@pytest.mark.parametrize("kind", ["toy", "edges", "nodes", "comparison"])
def test_pointing_at_a_circuit_shows_what_is_joined(kind, tmp_path):
    result = fake_circuit.RESULTS[kind]()
    seen, complaints = look(report(save_run(tmp_path / "run", result, {}, {})), tmp_path, POINTER)
    assert complaints == [] and seen["requests"] == [] and seen["wide"] == []
    assert seen["invited"].startswith("Point at a component") and seen["after"] == [0, seen["invited"]]
    assert seen["focus"] == [1, 2, 1] and seen["stops"] == 1
    edges = [(e["sender"], e["receiver"]) for e in result.get("circuits", {}).get("teacher", result)["edges"] or []]
    for name, (text, lit, n_nodes) in seen["nodes"].items():
        joined = [(s, r.split(".")[0]) for s, r in edges if name in (s, r.split(".")[0])]
        assert text.startswith(name) and sorted(map(tuple, lit)) == sorted(joined)
        assert n_nodes == len({name, *(part for pair in joined for part in pair)})
    pointed = [text.split(":")[0].split(" \u2192 ") for text, _ in seen["edges"]]
    assert sorted(map(tuple, pointed)) == sorted(edges)
    assert all(
        sorted(ends) == sorted({s, r.split(".")[0]}) for (s, r), (_, ends) in zip(pointed, seen["edges"], strict=True)
    )


def test_sweep_is_plotted(tmp_path):
    seen, complaints = look(report(save_run(tmp_path / "run", fake_circuit.sweep_result(), {}, {})), tmp_path)
    assert complaints == [] and seen["plots"] == [["sweep", True]] and seen["fallbacks"] == 0
