"""What a browser makes of a report: figures drawn, tables sorted, nothing asked of any network."""

import json
import re
import shutil
import subprocess

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


def look(file, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(file.read_text(encoding="utf-8").replace("</body>", READER + "</body>"), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert seen, done.stdout[-500:]
    import base64

    return json.loads(base64.b64decode(seen[1])), complaints


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
