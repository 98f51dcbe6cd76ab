"""The matched pairs drawn between the two models: where names, bars and lines of the drawing go."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from circuitkit.core.component import Component
from circuitkit.reports.alignment_record import AlignmentRecord, Pair
from circuitkit.reports.numerals import fixed
from circuitkit.reports.records import Effect

WIDTH = 520.0
_LEFT_EDGE, _RIGHT_EDGE = 176.0, 344.0
_BAR = 62.0
_ROW, _LAYER_GAP, _TOP = 21.0, 13.0, 34.0
_SHOWN = 20
_LINE_STEPS = 6
_WORTH_NAMING = 0.1  # share of the largest influence from which an unmatched component is drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A component in one of the two columns; `bar` is the length of its influence."""

    name: str
    y: float
    bar: float
    influence: float
    matched: bool
    layer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A line between two components; `step` is the class of its colour, 0 for the least similar."""

    path: str
    width: float
    step: int
    inherited: bool | None
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The whole drawing."""

    teacher: tuple[Node, ...]
    student: tuple[Node, ...]
    wires: tuple[Wire, ...]
    height: float
    shown: int
    total: int
    label: str
    has_inheritance: bool
    unmatched: int


def wiring(record: AlignmentRecord) -> Wiring:
    """Lay out the most influential pairs and the student's influential components that no pair reaches."""
    by_student = record.settings.get("direction") == "student"
    ranked = sorted(record.pairs, key=lambda p: (-_strength(p, by_student), p.teacher, p.student))
    shown = ranked[:_SHOWN]
    left, right = {p.teacher for p in shown}, {p.student for p in shown}
    alone_left = _left_alone(record.influence.teacher, {p.teacher for p in record.pairs})
    alone_right = _left_alone(record.influence.student, {p.student for p in record.pairs})
    effects_t = {n: e.influence for n, e in record.influence.teacher.items()}
    effects_s = {n: e.influence for n, e in record.influence.student.items()}
    top = max([*effects_t.values(), *effects_s.values()], default=0.0) or 1.0
    span = max(_span(left | alone_left), _span(right | alone_right))
    teacher = _column(left | alone_left, effects_t, left, top=top, span=span)
    student = _column(right | alone_right, effects_s, right, top=top, span=span)
    return Wiring(
        teacher=teacher,
        student=student,
        wires=_wires(shown, teacher, student, record, by_student=by_student),
        height=_TOP + span + 20,
        shown=len(shown),
        total=len(record.pairs),
        label=_describe(shown, len(record.pairs)),
        has_inheritance=record.inheritance is not None,
        unmatched=len(alone_right) + len(alone_left),
    )


def inherited(pair: Pair, record: AlignmentRecord) -> bool | None:
    """Whether a match joins a component with the very one it was copied from; None where that is unknown."""
    teacher, student = Component.parse(pair.teacher), Component.parse(pair.student)
    if record.inheritance is None or student.layer not in record.inheritance.map:
        return None
    return teacher == Component(record.inheritance.map[student.layer], student.head)


def _left_alone(effects: Mapping[str, Effect], matched: set[str]) -> set[str]:
    floor = _WORTH_NAMING * max((effect.influence for effect in effects.values()), default=0.0)
    strong = {name for name in effects.keys() - matched if effects[name].influence >= floor > 0}
    return set(sorted(strong, key=lambda name: (-effects[name].influence, name))[:8])


def _strength(pair: Pair, by_student: bool) -> float:
    """Influence of the component that was matched, times the share of it that this pair carries."""
    return pair.weight * (pair.student_influence if by_student else pair.teacher_influence)


def _ordered(names: Iterable[str]) -> list[Component]:
    parts = (Component.parse(name) for name in names)
    return sorted(parts, key=lambda part: (part.layer, part.head is None, part.head or 0))


def _span(names: set[str]) -> float:
    layers = {part.layer for part in _ordered(names)}
    return _ROW * len(names) + _LAYER_GAP * (len(layers) - 1)


def _column(
    names: set[str], influence: Mapping[str, float], matched: set[str], *, top: float, span: float
) -> tuple[Node, ...]:
    """Spread one column over the height, up to twice its natural spacing, and centre what is left."""
    stretch = min(2.0, span / _span(names))
    y = _TOP + (span - stretch * _span(names)) / 2 + stretch * _ROW / 2
    nodes: list[Node] = []
    layer = -1
    for part in _ordered(names):
        new_layer = part.layer != layer
        if new_layer and nodes:
            y += stretch * _LAYER_GAP
        layer = part.layer
        name = str(part)
        nodes.append(
            Node(
                name=name,
                y=round(y, 1),
                bar=round(_BAR * influence[name] / top, 1),
                influence=influence[name],
                matched=name in matched,
                layer=f"layer {layer}" if new_layer else None,
            )
        )
        y += stretch * _ROW
    return tuple(nodes)


def _wires(
    shown: Sequence[Pair],
    teacher: Sequence[Node],
    student: Sequence[Node],
    record: AlignmentRecord,
    *,
    by_student: bool,
) -> tuple[Wire, ...]:
    left, right = {node.name: node.y for node in teacher}, {node.name: node.y for node in student}
    strongest = max(_strength(p, by_student) for p in shown) or 1.0
    middle = (_LEFT_EDGE + _RIGHT_EDGE) / 2
    wires = [
        Wire(
            path=f"M{_LEFT_EDGE:g} {left[p.teacher]:g}C{middle:g} {left[p.teacher]:g} {middle:g} "
            f"{right[p.student]:g} {_RIGHT_EDGE:g} {right[p.student]:g}",
            width=round(1 + 7 * _strength(p, by_student) / strongest, 1),
            step=min(_LINE_STEPS - 1, max(0, int(p.similarity * _LINE_STEPS))),
            inherited=inherited(p, record),
            title=f"{p.teacher} to {p.student}: similarity {fixed(p.similarity)}, influence "
            f"{fixed(p.teacher_influence)} and {fixed(p.student_influence)}, contribution "
            f"{fixed(p.contribution)}",
        )
        for p in shown
    ]
    return tuple(reversed(wires))  # the most influential last, on top


def _describe(shown: Sequence[Pair], total: int) -> str:
    strongest = "; ".join(f"{p.teacher} with {p.student}, similarity {fixed(p.similarity)}" for p in shown[:5])
    return f"The {len(shown)} most influential of {total} matched pairs. Strongest: {strongest}."
