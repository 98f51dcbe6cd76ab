"""Tables of shaded values for notebooks: named rows and columns, a number and a colour in each cell."""

from dataclasses import dataclass

from circuitkit.reports.numerals import fixed

MOST_COLUMNS = 24
_NONE, _BLUE, _ORANGE = (236, 240, 241), (12, 31, 87), (122, 44, 6)
_INK, _PAPER = (0, 0, 0), (255, 255, 255)  # between them every colour has a contrast of 4.5 or more
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueCell:
    """One cell: what is written in it, what it says when pointed at, and its colours."""

    text: str
    title: str
    fill: str
    ink: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueGrid:
    """A table of shaded cells; `corner` names what goes down, `note` says how to read it."""

    name: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[ValueCell, ...]], ...]
    note: str = ""


def value_cell(text: str, share: float, *, title: str) -> ValueCell:
    """A cell coloured by a share between -1 and 1: blue above zero, orange below, pale near it.

    Args:
        text: What is written in it.
        share: Its value as a share of the largest; what lies beyond 1 looks like 1.
        title: The value in full, shown when it is pointed at.
    """
    most = _BLUE if share >= 0 else _ORANGE
    weight = min(1.0, abs(share))
    fill = _mixed(_NONE, most, weight)
    ink = max((_INK, _PAPER), key=lambda colour: contrast(colour, fill))
    return ValueCell(text=text, title=title, fill=_css(fill), ink=_css(ink))


def number_cell(value: float | None, share: float, *, title: str, n_columns: int) -> ValueCell:
    """A cell with its number, which is left out beside too many others; an en dash where there is none."""
    if value is None:
        return value_cell("\u2013", 0.0, title=title)
    return value_cell(fixed(value) if n_columns <= MOST_COLUMNS else "", share, title=title)


def contrast(one: Colour, other: Colour) -> float:
    """Contrast of two sRGB colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Colour) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _mixed(one: Colour, other: Colour, weight: float) -> Colour:
    red, green, blue = (round(a + (b - a) * weight) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _css(colour: Colour) -> str:
    return f"rgb({','.join(str(part) for part in colour)})"
