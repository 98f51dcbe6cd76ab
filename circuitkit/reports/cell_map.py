"""Small maps of a model's components for notebooks: layers down, heads across."""

from dataclasses import dataclass

_LIGHT, _DARK = (236, 240, 241), (12, 31, 87)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One square of a map."""

    column: float
    row: int
    fill: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMap:
    """A map: layers down, heads across, MLPs in a column of their own; `label` is what it shows in words."""

    name: str
    label: str
    rows: int
    columns: int
    cells: tuple[Cell, ...]


def shade(share: float) -> str:
    """A colour between light and dark blue; one hue, so that lightness alone carries the value."""
    mixed = (round(a + (b - a) * share) for a, b in zip(_LIGHT, _DARK, strict=True))
    return f"rgb({','.join(str(part) for part in mixed)})"
