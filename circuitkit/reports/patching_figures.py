"""Maps of activation patching, sites by positions, and the logit lens, as plotly figures in plain data."""

from collections.abc import Sequence
from typing import Any

from circuitkit.reports.line_figures import level, line
from circuitkit.reports.maps import Figure
from circuitkit.reports.numerals import fixed, interval
from circuitkit.reports.patching_record import PatchedSite, PatchEffect, PatchingRecord

MOST_ROWS = 40
FINEST = 0.2
_WORDS = 12  # columns up to which numbers fit into the cells
_NAMES = {"block": "Whole blocks", "head": "Heads", "mlp": "MLPs", "q": "Queries", "k": "Keys", "v": "Values"}


def part_title(part: str) -> str:
    """What a part is called above its map."""
    return _NAMES.get(part, "Attention patterns")


def patching_map(part: str, record: PatchingRecord) -> tuple[Figure, int]:
    """One map: the sites of a part down, positions across, all tokens in a column of its own.

    Colours run to the largest effect at single positions, the same to both sides of zero, but to no less than
    `FINEST` of what there is to restore or to lose: what is next to nothing looks like it.

    Returns:
        The figure, and how many rows it leaves out: beyond `MOST_ROWS` only those with the largest effects are drawn.
    """
    rows = [row for row in record.rows if row.part == part]
    shown = _shown(rows, record)
    values = [_value(record.effects[row.name][name], record) for row in shown for name in record.singles]
    top = max((abs(value) for value in values if value is not None), default=0.0)
    top = max(top, FINEST if record.gap.clear else FINEST * abs(record.logit_diff.mean)) or 1.0
    n = len(record.singles)
    numbers = n < _WORDS
    height = max(17, min(34, 520 // len(shown)))
    return Figure(
        id=f"map-{part}",
        label=_describe(part, shown, record),
        data=[
            _cells(shown, record, record.singles, x=[float(i) for i in range(n)], numbers=numbers),
            _cells(shown, record, (record.positions[-1].name,), x=[n - 0.3, n + 0.7], numbers=numbers),
        ],
        layout={
            "height": height * len(shown) + (84 if numbers else 140),
            "margin": {"l": 74, "r": 6, "t": 6, "b": 60 if numbers else 116},
            "xaxis": {
                "title": {"text": "patched at"},
                "tickvals": [*range(n), n + 0.2],
                "ticktext": [position.name for position in record.positions],
                "tickangle": 0 if numbers else -60,
                "fixedrange": True,
                "showgrid": False,
                "ticks": "",
            },
            "yaxis": {
                "title": {"text": ""},
                "tickvals": list(range(len(shown))),
                "ticktext": [row.name for row in shown],
                "range": [len(shown) - 0.45, -0.55],
                "fixedrange": True,
                "showgrid": False,
                "ticks": "",
            },
            "coloraxis": {
                "cmin": -round(top, 4),
                "cmax": round(top, 4),
                "showscale": False,
                "colorscale": [[0, "var(--student)"], [0.5, "var(--faint)"], [1, "var(--teacher)"]],
            },
        },
    ), len(rows) - len(shown)


def _cells(
    rows: Sequence[PatchedSite], record: PatchingRecord, positions: Sequence[str], *, x: list[float], numbers: bool
) -> dict[str, Any]:
    cells = [[(row.name, name, record.effects[row.name][name]) for name in positions] for row in rows]
    values = [[_value(effect, record) for _, _, effect in row] for row in cells]
    return {
        "type": "heatmap",
        "x": x,
        "y": list(range(len(rows))),
        "z": [[None if value is None else round(value, 4) for value in row] for row in values],
        "text": [["" if value is None or not numbers else fixed(value) for value in row] for row in values],
        "customdata": [[_hover(*cell) for cell in row] for row in cells],
        "texttemplate": "%{text}",
        "hovertemplate": "%{customdata}<extra></extra>",
        "coloraxis": "coloraxis",
        "xgap": 2,
        "ygap": 1,
    }


def _shown(rows: Sequence[PatchedSite], record: PatchingRecord) -> list[PatchedSite]:
    if len(rows) <= MOST_ROWS:
        return list(rows)

    def largest(row: PatchedSite) -> float:
        return max(abs(record.effects[row.name][name].effect) for name in record.singles)

    kept = {row.name for row in sorted(rows, key=lambda row: -largest(row))[:MOST_ROWS]}
    return [row for row in rows if row.name in kept]


def _value(effect: PatchEffect, record: PatchingRecord) -> float | None:
    """The share of the gap, None where a position has none; logits in a map without shares."""
    return effect.share if record.gap.clear else effect.effect


def _hover(row: str, position: str, effect: PatchEffect) -> str:
    text = f"<b>{row}</b> at {position}<br>{fixed(effect.effect)} logits"
    if effect.ci95 is not None:
        text += f" ({interval(effect.ci95)})"
    if effect.share is not None:
        text += f"<br>share {fixed(effect.share)}"
        text += "" if effect.share_ci95 is None else f" ({interval(effect.share_ci95)})"
    return text if effect.layer_ratio is None else f"{text}<br>{fixed(effect.layer_ratio)} times the layer's mean"


def _describe(part: str, rows: Sequence[PatchedSite], record: PatchingRecord) -> str:
    best = sorted(rows, key=lambda row: -record.strongest(row.name)[1].effect)[:3]
    told = [(row.name, *record.strongest(row.name)) for row in best]
    largest = ", ".join(f"{name} at {position} {_told(effect, record)}" for name, position, effect in told)
    return f"{part_title(part)} by position. Largest: {largest}."


def _told(effect: PatchEffect, record: PatchingRecord) -> str:
    value = _value(effect, record)
    return f"{fixed(effect.effect)} logits" if value is None else fixed(value)


def lens_figure(record: PatchingRecord) -> Figure:
    """Logit difference read behind every block."""
    stages = record.lens.stages
    style = ("logit difference", "var(--teacher)", "circle", "solid")
    drawn = line(list(map(float, range(len(stages)))), [stage.logit_diff for stage in stages], style)
    every = max(1, len(stages) // 12)
    ticks = [i for i in range(len(stages)) if i % every == 0 or i == len(stages) - 1]
    return Figure(
        id="lens",
        label="Logit difference read behind every block: "
        + ", ".join(f"{stage.stage} {fixed(stage.logit_diff)}" for stage in stages)
        + ".",
        data=[drawn],
        layout={
            "height": 260,
            "margin": {"l": 62, "r": 12, "t": 12, "b": 54},
            "showlegend": False,
            "xaxis": {
                "title": {"text": "stream read behind"},
                "tickvals": ticks,
                "ticktext": [stages[i].stage for i in ticks],
                "fixedrange": True,
            },
            "yaxis": {"title": {"text": "logit difference"}, "fixedrange": True},
            "shapes": [level(0.0, "y")],
        },
    )
