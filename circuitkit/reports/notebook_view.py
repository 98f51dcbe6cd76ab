"""What the views of all results in notebooks have in common: one template, given in parts."""

from collections.abc import Sequence
from dataclasses import dataclass

from circuitkit.reports.cell_map import CellMap
from circuitkit.reports.point_plane import PointPlane
from circuitkit.reports.templating import environment
from circuitkit.reports.value_grid import ValueGrid
from circuitkit.reports.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookTable:
    """A plain table."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]


def notebook_view(
    *,
    verdict: Verdict,
    warnings: Sequence[str],
    maps: Sequence[CellMap] = (),
    grids: Sequence[ValueGrid] = (),
    planes: Sequence[PointPlane] = (),
    tables: Sequence[NotebookTable] = (),
) -> str:
    """A small piece of HTML without scripts or style sheets.

    Args:
        verdict: What the result says.
        warnings: What a reader must see beside it.
        maps: Maps of components.
        grids: Tables of shaded values.
        planes: Planes of points.
        tables: Plain tables.
    """
    template = environment().get_template("notebook.html.j2")
    return template.render(verdict=verdict, warnings=warnings, maps=maps, grids=grids, planes=planes, tables=tables)
