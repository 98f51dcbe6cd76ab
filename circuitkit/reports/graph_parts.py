"""What a drawing of a circuit is made of, and how a component's effect becomes its colour."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.numerals import fixed

STEPS = 9
_DARK_TEXT, _LIGHT_TEXT = 4, 6  # steps of the colour ramp from which the text on it changes
State = Literal["kept", "loose", "out", "end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """One component as a box around (x, y), or as a dot when it is not kept.

    Attributes:
        name: The component, `embed` or `logits`.
        text: What is written in the box.
        x: Middle of the box.
        y: Middle of the box.
        width: Of the box.
        height: Of the box.
        state: In the circuit, an end of kept edges only, not in the circuit, or an end of the model.
        step: Step of the colour ramp, 0 for no effect; None where the effect is negative or was not measured.
        ink: Which of three text colours can be read on that step.
        negative: Whether the model does better without it.
        title: The numbers in words.
        badge: Number of the match that it belongs to, or None.
    """

    name: str
    text: str
    x: float
    y: float
    width: float
    height: float
    state: State
    step: int | None
    ink: int
    negative: bool
    title: str
    badge: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphEdge:
    """One edge as a curve; `kind` is the input that it enters."""

    path: str
    sender: str
    reader: str
    kind: str
    width: float
    opacity: float
    negative: bool
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphLabel:
    """A word in the margin."""

    text: str
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitGraph:
    """A whole drawing.

    Attributes:
        id: Identity of the drawing in its page.
        nodes: Components from the embedding up.
        edges: Drawn edges, the strongest last.
        rows: Names of the layers, at the left.
        columns: Numbers of the heads, at the foot; none where heads have no columns.
        width: Of the drawing.
        height: Of the drawing.
        label: The drawing in words.
        said: How many of how many components and edges are drawn, in a sentence.
        measured: Whether colours show an effect.
        top: Effect at the dark end of the colours.
        shade: What the colours show, with its unit.
    """

    id: str
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    rows: tuple[GraphLabel, ...]
    columns: tuple[GraphLabel, ...]
    width: float
    height: float
    label: str
    said: str
    measured: bool
    top: float
    shade: str

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of edges that occur, in a fixed order."""
        drawn = {edge.kind for edge in self.edges}
        return tuple(kind for kind in ("q", "k", "v", "mlp", "logits") if kind in drawn)

    @property
    def states(self) -> frozenset[str]:
        """States of nodes that occur."""
        return frozenset(node.state for node in self.nodes)

    @property
    def has_negative_nodes(self) -> bool:
        """Whether the model does better without some component."""
        return any(node.negative for node in self.nodes)

    @property
    def has_negative_edges(self) -> bool:
        """Whether some drawn edge hurts."""
        return any(edge.negative for edge in self.edges)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shades:
    """Which effect colours the components of one circuit, and on what scale."""

    values: Mapping[str, float]
    top: float
    name: str

    def share(self, name: str) -> float:
        """Size of one component's effect on the scale from 0 to 1; 0 where it was not measured."""
        return min(1.0, abs(self.values.get(name, 0.0)) / self.top)

    def step(self, name: str) -> int | None:
        """Step of the colour ramp."""
        value = self.values.get(name)
        if value is None or value < 0:
            return None
        return min(STEPS - 1, int(self.share(name) * STEPS))


def shades(record: CircuitRecord) -> Shades:
    """Colour by the drop of ablating a component alone, or by its loss where no drop was measured."""
    drops = {name: e.drop for name in record.nodes if (e := record.effect(name)).drop is not None}
    losses = {name: e.loss for name in record.nodes if (e := record.effect(name)).loss is not None}
    values = drops or losses
    what = "drop when ablated alone" if drops or not losses else "loss when removed from the circuit"
    top = max((abs(value) for value in values.values()), default=0.0)
    return Shades(values=values, top=top or 1.0, name=f"{what}, logits")


def ink(step: int | None) -> int:
    """0: the page's ink; 1: always the dark of the two; 2: the page's paper."""
    if step is None or step < _DARK_TEXT:
        return 0
    return 1 if step < _LIGHT_TEXT else 2


def in_words(name: str, record: CircuitRecord) -> str:
    """A component with its measured numbers."""
    effect = record.effect(name)
    parts = [
        f"{what} {fixed(value, 3)} logits"
        for what, value in (("drop", effect.drop), ("loss", effect.loss))
        if value is not None
    ]
    return f"{name}: {', '.join(parts)}" if parts else f"{name}: effect not measured"
