"""A saved run to one HTML file that needs no network and can ask for none."""

import os
import tempfile
from pathlib import Path

from markupsafe import Markup

from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import Run, load_run
from circuitkit.core.utf8 import printable
from circuitkit.reports.circuit_pages import circuit_page, comparison_page, sweep_page
from circuitkit.reports.embedding import packed_circuitsvis, packed_plotly, script_json
from circuitkit.reports.pages import Context, alignment_page, influence_page, table_page
from circuitkit.reports.patching_page import patching_page
from circuitkit.reports.patching_record import PATCHING
from circuitkit.reports.probe_page import probe_page
from circuitkit.reports.probe_record import PROBE
from circuitkit.reports.records import ALIGNMENT, CIRCUIT, COMPARISON, INFLUENCE, SWEEP, TABLE
from circuitkit.reports.reproduction_page import REPRODUCTION, reproduction_page
from circuitkit.reports.role_pages import role_page
from circuitkit.reports.role_record import ROLES
from circuitkit.reports.study_page import study_page
from circuitkit.reports.study_record import EXPERIMENT
from circuitkit.reports.templating import environment, verbatim

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)

_PAGES = {
    CIRCUIT: ("circuit.html.j2", circuit_page),
    SWEEP: ("circuit-sweep.html.j2", sweep_page),
    COMPARISON: ("comparison.html.j2", comparison_page),
    PROBE: ("probe.html.j2", probe_page),
    PATCHING: ("patching.html.j2", patching_page),
    EXPERIMENT: ("study.html.j2", study_page),
    REPRODUCTION: ("study.html.j2", reproduction_page),
}


def report(run: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a saved run.

    The same run gives the same bytes. The file is written whole or not at all.

    Args:
        run: A run directory of `align` (one task or several), `influence`, `discover`, `compare`, `probe`, `patch`,
            `roles` or `experiment`.
        output: The HTML file; `report.html` inside the run directory by default.

    Returns:
        Where the report is.

    Raises:
        ResultError: There is no run, it is broken or of a kind that has no report, or the file cannot be
            written.
    """
    loaded = load_run(run)
    target = Path(output) if output is not None else loaded.path / "report.html"
    return _write(target, render(loaded))


def render(run: Run) -> str:
    """The report of a loaded run as text.

    Raises:
        ResultError: The run is broken or of a kind that has no report.
    """
    schema = run.result["schema"]
    if schema == ALIGNMENT:
        return _fill("alignment.html.j2", alignment_page(run.result, run.tensors))
    if schema == TABLE:
        return _fill("table.html.j2", table_page(run.result))
    if schema == INFLUENCE:
        return _fill("influence.html.j2", influence_page(run.result))
    if schema == ROLES:
        return _fill("roles.html.j2", role_page(run.result, run.tensors))
    if schema in _PAGES:
        template, page = _PAGES[schema]
        return _fill(template, page(run.result))
    wanted = f"{ALIGNMENT}, {TABLE}, {INFLUENCE}, {ROLES}, {', '.join(_PAGES)}"
    raise ResultError(f"Run {str(run.path)!r} holds {schema}, which has no report; wanted {wanted}.")


def _fill(template: str, context: Context) -> str:
    text = (
        environment()
        .get_template(template)
        .render(
            **context,
            policy=Markup(CONTENT_SECURITY_POLICY),
            style=verbatim("report.css"),
            script=verbatim("report.js"),
            plotly=Markup(packed_plotly()) if context["figures"] else None,
            circuitsvis=Markup(packed_circuitsvis()) if context["attention"] else None,
            data=script_json({"figures": context["figures"], "attention": context["attention"]}),
        )
    )
    return printable(text)


def _write(target: Path, text: str) -> Path:
    if target.is_dir():
        raise ResultError(f"Output {str(target)!r} is a directory; a report needs a file such as report.html.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            part = Path(file.name)
            try:
                file.write(text)
                file.flush()
                part.chmod(0o666 & ~_umask())
                part.replace(target)
            except BaseException:  # also an interrupt: no half-written file stays behind
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ResultError(f"Report could not be written to {str(target)!r}: {error}. Name another file.") from error
    return target


def _umask() -> int:
    """The process's mask for new files, which temporary files do not follow by themselves."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
