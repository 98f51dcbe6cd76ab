"""Roles as a small piece of HTML without scripts, for notebooks."""

from collections.abc import Mapping
from typing import Any

from circuitkit.core.component import Component, all_components
from circuitkit.reports.key_figures import NONE
from circuitkit.reports.notebook_view import NotebookTable, notebook_view
from circuitkit.reports.numerals import fixed
from circuitkit.reports.records import read_record
from circuitkit.reports.role_record import Evidence, RoleRecord
from circuitkit.reports.role_verdict import role_verdict
from circuitkit.reports.value_grid import ValueCell, ValueGrid, value_cell

_SHOWN = 10


def role_summary(result: Mapping[str, Any]) -> str:
    """Headline, a map of all components with their roles, and the claims with their evidence.

    Args:
        result: What `result.json` of `circuitkit.roles/1` holds.

    Raises:
        ResultError: The result lacks something that is shown.
    """
    record = read_record(RoleRecord, result)
    return notebook_view(
        verdict=role_verdict(record),
        warnings=record.warnings,
        grids=(_map(record),),
        tables=(_claims(record),),
    )


def _map(record: RoleRecord) -> ValueGrid:
    model = record.model
    top = max((effect.influence for effect in record.influence.values()), default=0.0) or 1.0
    layers = [[c for c in all_components(model.n_layers, model.n_heads) if c.layer == i] for i in range(model.n_layers)]
    return ValueGrid(
        name=f"{model.name}: roles of its heads",
        corner="layer",
        columns=(*(f"head {i}" for i in range(model.n_heads)), "MLP"),
        rows=tuple((str(i), tuple(_cell(c, record, top) for c in parts)) for i, parts in enumerate(layers)),
        note="Blue: influence, up to the largest. No name: unknown. MLPs are tested for no role.",
    )


def _cell(component: Component, record: RoleRecord, top: float) -> ValueCell:
    name = str(component)
    held, effect = record.roles_of(name), record.influence.get(name)
    share = 0.0 if effect is None else effect.influence / top
    told = ", ".join(held) or ("not tested" if component.head is None else "unknown")
    influence = "not measured" if effect is None else fixed(effect.influence, 3)
    return value_cell(", ".join(held), share, title=f"{name}: {told}; influence {influence}")


def _claims(record: RoleRecord) -> NotebookTable:
    claims = [(name, role) for name, held in record.roles.items() for role in held if role in record.scores[name]]
    claims.sort(key=lambda claim: -record.influence[claim[0]].influence)
    rows: list[tuple[str, ...]] = []
    for name, role in claims[:_SHOWN]:
        score, effect = record.scores[name][role], record.influence[name]
        e = score.evidence
        told = (_score(part) for part in (e.attention, e.qk, e.ov, e.write))
        rows.append(
            (
                name,
                record.told(name, role),
                *told,
                _rate(score.q if score.r is None else score.r),
                fixed(effect.influence, 3),
            )
        )
    return NotebookTable(
        caption=f"{len(rows)} of {len(claims)} claims" if len(claims) > len(rows) else f"{len(claims)} claims",
        columns=("head", "role", "attention", "QK, logits", "OV, logits", "write", "false rate", "influence"),
        rows=rows,
    )


def _score(evidence: Evidence | None) -> str:
    return NONE if evidence is None else fixed(evidence.score)


def _rate(rate: float) -> str:
    return "<\u202f0.001" if rate < 0.0005 else fixed(rate, 3)
