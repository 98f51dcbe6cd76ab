"""What notebooks show of a result: plain HTML without scripts, so that it survives export and distrust."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from circuitkit.core.component import Component
from circuitkit.reports.alignment_record import AlignmentRecord
from circuitkit.reports.cell_map import Cell, CellMap, shade
from circuitkit.reports.circuit_summary import circuit_summary
from circuitkit.reports.fingerprint_section import reaction_grid
from circuitkit.reports.measure_views import label_maps_html, logit_lens_html, mlp_pca_html, mlp_similarity_html
from circuitkit.reports.notebook_view import NotebookTable, notebook_view
from circuitkit.reports.numerals import fixed, interval
from circuitkit.reports.patching_summary import patching_summary
from circuitkit.reports.probe_summary import probe_summary
from circuitkit.reports.records import Effect, InfluenceRecord, read_record
from circuitkit.reports.role_summary import role_summary
from circuitkit.reports.study_summary import study_summary
from circuitkit.reports.verdict import alignment_verdict, influence_verdict

_SHOWN = 10


def alignment_html(result: Mapping[str, Any]) -> str:
    """An alignment result as a small piece of HTML.

    Args:
        result: What `result.json` of `circuitkit.alignment/1` holds.

    Raises:
        ResultError: The result lacks something that is shown.
    """
    record = read_record(AlignmentRecord, result)
    top = sorted(record.pairs, key=lambda pair: (-pair.teacher_influence, pair.teacher))[:_SHOWN]
    rows = [
        (
            pair.teacher,
            pair.student,
            *(
                fixed(value, 3)
                for value in (pair.similarity, pair.teacher_influence, pair.student_influence, pair.contribution)
            ),
        )
        for pair in top
    ]
    prints, verdict = record.fingerprint, alignment_verdict(record)
    if prints is not None:
        verdict = replace(verdict, support=(*verdict.support, prints.reading))
    return notebook_view(
        verdict=verdict,
        warnings=(*record.warnings, *(() if prints is None else prints.notices)),
        grids=() if prints is None else (reaction_grid(prints),),
        maps=(
            _cell_map(f"Teacher {record.teacher.name}", record.influence.teacher),
            _cell_map(f"Student {record.student.name}", record.influence.student),
        ),
        tables=(
            NotebookTable(
                caption=f"The {len(top)} most influential of {len(record.pairs)} pairs",
                columns=("teacher", "student", "similarity", "influence T", "influence S", "contribution"),
                rows=rows,
            ),
        ),
    )


def influence_html(result: Mapping[str, Any]) -> str:
    """The influences of one model as a small piece of HTML.

    Args:
        result: What `result.json` of `circuitkit.influence/1` holds.

    Raises:
        ResultError: The result lacks something that is shown.
    """
    record = read_record(InfluenceRecord, result)
    top = sorted(record.influence.items(), key=lambda item: -item[1].influence)[:_SHOWN]
    rows = [(name, fixed(e.drop, 3), interval(e.drop_ci95), fixed(e.influence, 3), interval(e.ci95)) for name, e in top]
    return notebook_view(
        verdict=influence_verdict(record),
        warnings=record.warnings,
        maps=(_cell_map(record.model.name, record.influence),),
        tables=(
            NotebookTable(
                caption=f"The {len(top)} most influential of {len(record.influence)} components",
                columns=("component", "drop, logits", "95%", "influence", "95%"),
                rows=rows,
            ),
        ),
    )


def _cell_map(name: str, effects: Mapping[str, Effect]) -> CellMap:
    parts = {Component.parse(text): effect for text, effect in effects.items()}
    columns = 1 + max((part.head for part in parts if part.head is not None), default=0)
    top = max((effect.influence for effect in effects.values()), default=0.0) or 1.0
    cells = tuple(
        Cell(
            column=columns + 0.4 if part.head is None else float(part.head),
            row=part.layer,
            fill=shade(effect.influence / top),
            title=f"{part}: drop {fixed(effect.drop)} logits, influence {fixed(effect.influence, 3)}",
        )
        for part, effect in parts.items()
    )
    return CellMap(
        name=name,
        label=f"Influence of every component of {name}, layer by head",
        rows=1 + max(part.layer for part in parts),
        columns=columns,
        cells=cells,
    )


_VIEWS: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], str]] = {
    ("circuitkit.alignment.result", "AlignmentResult"): alignment_html,
    ("circuitkit.discovery.influence_result", "Influence"): influence_html,
    ("circuitkit.discovery.circuit", "Circuit"): circuit_summary,
    ("circuitkit.roles.result", "RoleResult"): role_summary,
    ("circuitkit.probes.result", "ProbeResult"): probe_summary,
    ("circuitkit.probes.patching_map", "PatchingMap"): patching_summary,
    ("circuitkit.probes.geometry", "LabelMaps"): label_maps_html,
    ("circuitkit.probes.pca", "MlpPca"): mlp_pca_html,
    ("circuitkit.probes.mlp_similarity", "MlpSimilarity"): mlp_similarity_html,
    ("circuitkit.probes.logit_lens", "LogitLens"): logit_lens_html,
    ("circuitkit.experiments.study", "Study"): study_summary,
}
"""Module and name of every result that a notebook shows, and how."""


def enable(shell: Any) -> None:  # noqa: ANN401 - an IPython shell, without importing IPython
    """Show results as HTML in a running IPython shell.

    The types are named, not imported, so nothing is loaded before a result exists.

    Args:
        shell: What `IPython.get_ipython()` gives.
    """
    formatter = shell.display_formatter.formatters["text/html"]
    for (module, name), view in _VIEWS.items():
        formatter.for_type_by_name(module, name, lambda result, view=view: view(result.to_dict()))


def load_ipython_extension(shell: Any) -> None:  # noqa: ANN401 - IPython's protocol
    """What `%load_ext circuitkit.reports.jupyter` calls."""
    enable(shell)
