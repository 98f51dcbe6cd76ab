"""The section on fingerprints: which components react to what, and where, matched ones together."""

from dataclasses import dataclass

from circuitkit.reports.fingerprint_record import FingerprintRecord, Reactions
from circuitkit.reports.numerals import fixed
from circuitkit.reports.value_grid import ValueCell, ValueGrid, number_cell

SHOWN = 12
LEAST = 0.01
STRONGEST = 0.55  # of the way from paper to colour: ink stays readable on it
Cell = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionCell:
    """One shaded number: what one component does to the answer, in logits, in one cell of its fingerprint."""

    text: str
    title: str
    sign: str
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionRow:
    """One component's fingerprint; `side` is T or S, `first` where a new match begins."""

    side: str
    name: str
    first: bool
    mass: float
    cells: tuple[ReactionCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionTable:
    """Fingerprints of matched components, one match after the other, the heaviest first.

    Attributes:
        heads: Kinds and how many columns each has.
        columns: Kind and group of each column; those in which nothing acts are left out.
        rows: The components.
        shown: Matches shown.
        total: Matches there are.
        left: Cells left out, as kind and group.
        most: Largest size of an effect, in logits.
    """

    heads: tuple[tuple[str, int], ...]
    columns: tuple[Cell, ...]
    rows: tuple[ReactionRow, ...]
    shown: int
    total: int
    left: tuple[Cell, ...]
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One line on a component: share of its model's mass, its partners, and what it reacts to most."""

    name: str
    share: float
    partners: tuple[str, ...]
    kind: str
    group: str
    effect: float


def mass(kinds: dict[str, dict[str, float]]) -> float:
    """Sum of the sizes of all effects, in logits."""
    return sum(abs(effect) for groups in kinds.values() for effect in groups.values())


def matches(record: FingerprintRecord) -> list[tuple[list[str], str | None]]:
    """Each student component with the teacher's that it stands for, then the teacher's without one; heaviest first."""
    teacher, student = record.fingerprints.teacher, record.fingerprints.student
    seats: dict[str, list[str]] = {name: [] for name in student}
    alone: list[str] = []
    for one, other in record.pairs.items():
        if other is None:
            alone.append(one)
        else:
            seats[other].append(one)
    found: list[tuple[list[str], str | None]] = [
        (sorted(some, key=lambda name: -mass(teacher[name])), name) for name, some in seats.items()
    ]
    found += [([name], None) for name in alone]
    return sorted(found, key=lambda match: -_weight(match, teacher, student))


def reaction_table(record: FingerprintRecord) -> ReactionTable:
    """The heaviest matches with both models' fingerprints."""
    teacher, student = record.fingerprints.teacher, record.fingerprints.student
    every = [(kind, group) for kind in record.kinds for group in record.groups]
    live = [c for c in every if any(row[c[0]][c[1]] for side in (teacher, student) for row in side.values())]
    found = matches(record)
    floor = LEAST * (_total(teacher) + _total(student))
    shown = [match for match in found if _weight(match, teacher, student) >= floor][:SHOWN] or found[:1]
    most = max((abs(row[k][g]) for side in (teacher, student) for row in side.values() for k, g in live), default=0.0)
    rows: list[ReactionRow] = []
    for some, other in shown:
        least = LEAST * _total(teacher)
        named = [name for name in some if mass(teacher[name]) >= least] or some[:1]
        parts = [("T", name, teacher[name]) for name in named]
        parts += [] if other is None else [("S", other, student[other])]
        rows += [
            ReactionRow(
                side=side,
                name=name,
                first=number == 0,
                mass=mass(effects),
                cells=tuple(_cell(f"{side}-{name}", effects[k][g], most, k, g) for k, g in live),
            )
            for number, (side, name, effects) in enumerate(parts)
        ]
    return ReactionTable(
        heads=tuple((kind, n) for kind in record.kinds if (n := sum(k == kind for k, _ in live))),
        columns=tuple(live),
        rows=tuple(rows),
        shown=len(shown),
        total=len(found),
        left=tuple(c for c in every if c not in live),
        most=most,
    )


def summaries(record: FingerprintRecord) -> tuple[tuple[Summary, ...], tuple[Summary, ...]]:
    """One line a component of the teacher and of the student, the heaviest first."""
    partners: dict[str, list[str]] = {}
    for one, other in record.pairs.items():
        if other is not None:
            partners.setdefault(other, []).append(one)
    ours = {one: [] if other is None else [other] for one, other in record.pairs.items()}
    return _summaries(record.fingerprints.teacher, ours), _summaries(record.fingerprints.student, partners)


def reaction_grid(record: FingerprintRecord) -> ValueGrid:
    """The same table for a notebook."""
    table = reaction_table(record)
    return ValueGrid(
        name=f"Fingerprints of {table.shown} of {table.total} matches, in logits",
        corner="component",
        columns=tuple(f"{kind} @ {group}" for kind, group in table.columns),
        rows=tuple((f"{row.side}-{row.name}", _notebook_cells(record, row, table)) for row in table.rows),
        note="A student component stands below the teacher's that it does the work of. Fall of the logit difference "
        "when the component's activation at these positions comes from the run on the counterfactual.",
    )


def _notebook_cells(record: FingerprintRecord, row: ReactionRow, table: ReactionTable) -> tuple[ValueCell, ...]:
    side = record.fingerprints.teacher if row.side == "T" else record.fingerprints.student
    return tuple(
        number_cell(
            value := side[row.name][kind][group],
            value / (table.most or 1.0),
            title=f"{row.side}-{row.name}, {kind} at {group}: {fixed(value, 3)} logits",
            n_columns=len(table.columns),
        )
        for kind, group in table.columns
    )


def _cell(who: str, effect: float, most: float, kind: str, group: str) -> ReactionCell:
    share = abs(effect) / (most or 1.0)
    return ReactionCell(
        text=fixed(effect) if abs(effect) >= 0.005 else "0",
        title=f"{who}, {kind} at {group}: {fixed(effect, 3)} logits",
        sign="down" if effect < 0 else "up",
        weight=round(100 * STRONGEST * share),
    )


def _summaries(side: Reactions, partners: dict[str, list[str]]) -> tuple[Summary, ...]:
    whole = _total(side) or 1.0
    found: list[Summary] = []
    for name, kinds in sorted(side.items(), key=lambda item: -mass(item[1])):
        kind, group = max(((k, g) for k, row in kinds.items() for g in row), key=lambda c: abs(kinds[c[0]][c[1]]))
        found.append(
            Summary(
                name=name,
                share=mass(kinds) / whole,
                partners=tuple(partners.get(name, ())),
                kind=kind,
                group=group,
                effect=kinds[kind][group],
            )
        )
    return tuple(found)


def _total(side: Reactions) -> float:
    return sum(mass(kinds) for kinds in side.values())


def _weight(match: tuple[list[str], str | None], teacher: Reactions, student: Reactions) -> float:
    some, other = match
    return sum(mass(teacher[name]) for name in some) + (0.0 if other is None else mass(student[other]))
