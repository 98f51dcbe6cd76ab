"""Layer x head maps of influence, as plotly figures in plain data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circuitkit.core.component import Component
from circuitkit.reports.numerals import fixed, interval
from circuitkit.reports.records import Effect

RAMP_STEPS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure that the page's script draws.

    Attributes:
        id: Identity of the element it is drawn into.
        label: What a screen reader says in its place.
        data: Plotly traces. A string `var(--name)` stands for that colour of the style sheet.
        layout: Plotly layout, less what the theme adds.
    """

    id: str
    label: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {"id": self.id, "data": self.data, "layout": self.layout}


def top_of_scale(*effects: Mapping[str, Effect]) -> float:
    """The largest influence of all the models that share a colour scale; 1 where all are zero."""
    return max((e.influence for group in effects for e in group.values()), default=0.0) or 1.0


def hurts(effect: Effect) -> bool:
    """Whether removing the component clearly helps: the whole interval of its drop is below zero."""
    return effect.drop_ci95 is not None and effect.drop_ci95[1] < 0


def influence_map(id_: str, who: str, effects: Mapping[str, Effect], *, top: float) -> Figure:
    """Heads as layers x heads with the MLPs as a column of their own, all on one colour scale.

    Args:
        id_: Identity of the figure.
        who: The model, in words, for the label.
        effects: Effect of every component of one model.
        top: Influence at the upper end of the colour scale.
    """
    parts = {Component.parse(name): effect for name, effect in effects.items()}
    n_layers = 1 + max(part.layer for part in parts)
    heads = [part.head for part in parts if part.head is not None]
    n_heads = 1 + max(heads, default=0)
    grid = [[Component(layer, head) for head in range(n_heads)] for layer in range(n_layers)]
    mlps = [[Component(layer)] for layer in range(n_layers)]
    edges = [n_heads - 0.2, n_heads + 0.8]
    return Figure(
        id=id_,
        label=_describe(who, effects),
        data=[
            _cells(grid, parts, x=[float(head) for head in range(n_heads)]),
            _cells(mlps, parts, x=edges),
        ],
        layout=_layout(n_layers, n_heads, top),
    )


def _cells(grid: list[list[Component]], parts: Mapping[Component, Effect], x: list[float]) -> dict[str, Any]:
    known = [[(part, parts.get(part)) for part in row] for row in grid]
    return {
        "type": "heatmap",
        "x": x,
        "y": list(range(len(grid))),
        "z": [[None if e is None else round(e.influence, 4) for _, e in row] for row in known],
        "text": [["\u2212" if e is not None and hurts(e) else "" for _, e in row] for row in known],
        "customdata": [[_hover(part, e) for part, e in row] for row in known],
        "texttemplate": "%{text}",
        "hovertemplate": "%{customdata}<extra></extra>",
        "coloraxis": "coloraxis",
        "xgap": 2,
        "ygap": 2,
    }


def _hover(part: Component, effect: Effect | None) -> str:
    if effect is None:
        return f"<b>{part}</b><br>not measured"
    drop = f"drop {fixed(effect.drop)} logits"
    if effect.drop_ci95 is not None:
        drop += f" ({interval(effect.drop_ci95)})"
    influence = f"influence {fixed(effect.influence, 3)}"
    if effect.ci95 is not None:
        influence += f" ({interval(effect.ci95, 3)})"
    estimated = "" if effect.exact else "<br>estimated by gradients"
    return f"<b>{part}</b><br>{drop}<br>{influence}{estimated}"


def _layout(n_layers: int, n_heads: int, top: float) -> dict[str, Any]:
    row = max(13, min(44, 420 // n_layers))
    every = math.ceil(n_heads / 16)
    ticks = [head for head in range(n_heads) if head % every == 0]
    return {
        "height": row * n_layers + 64,
        "margin": {"l": 40, "r": 6, "t": 6, "b": 54},
        "xaxis": {
            "tickvals": [*ticks, n_heads + 0.3],
            "ticktext": [*(str(head) for head in ticks), "MLP"],
            "title": {"text": "head", "standoff": 8},
            "range": [-0.55, n_heads + 0.85],
            "fixedrange": True,
            "showgrid": False,
            "ticks": "",
            "tickangle": 0,
        },
        "yaxis": {
            "title": {"text": "layer", "standoff": 6},
            "range": [n_layers - 0.45, -0.55],
            "dtick": math.ceil(n_layers / 16),
            "showgrid": False,
            "ticks": "",
            "fixedrange": True,
        },
        "coloraxis": {
            "cmin": 0,
            "cmax": round(top, 4),
            "showscale": False,
            "colorscale": [[i / (RAMP_STEPS - 1), f"var(--q{i})"] for i in range(RAMP_STEPS)],
        },
    }


def _describe(who: str, effects: Mapping[str, Effect]) -> str:
    ranked = sorted(effects.items(), key=lambda item: -item[1].influence)[:3]
    largest = ", ".join(f"{name} {fixed(effect.influence)}" for name, effect in ranked)
    return f"Influence of every component of the {who}, layer by head. Largest: {largest}."
