"""What the loss of the components of each role costs (Table 1 of Distilled Circuits), under both conventions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.discovery.circuit import Circuit
from circuitkit.discovery.discover import discover
from circuitkit.experiments.component_drops import ComponentDrops, component_drops
from circuitkit.experiments.few_prompts import first_prompts
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, Column, StudyTable, number
from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles.assign import find_roles
from circuitkit.roles.result import RoleResult
from circuitkit.roles.significance import LEAST_PROMPTS
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.describe import describe_task

SOURCE = "Distilled Circuits (Haskins & Adams 2026), sections 3.1 and 3.2.3, Table 1"
N_PROMPTS, THRESHOLD = 64, 0.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Side:
    """Roles of one model, its circuit (None where it does not do the task), and what its components cost."""

    roles: RoleResult
    circuit: Circuit | None
    drops: ComponentDrops


def roles_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """Find roles in both models and say what each of their components costs, in the model and in its circuit.

    Args:
        pairs: The pair, alone; its first 64 prompts are used.
        options: Nothing is taken from it.
        progress: Called as the work advances.
    """
    (pair,) = pairs
    batches = first_prompts(pair, N_PROMPTS, least_even=LEAST_PROMPTS)
    models = pair.teacher_model, pair.student_model
    sides = {
        who: _measure(pair, model, batch, partial(_named, progress, who))
        for who, model, batch in zip(("teacher", "student"), models, batches, strict=True)
    }
    components = _components_table(sides)
    by_role = _by_role_table(components, sides)
    return make_study(
        pairs,
        name="roles",
        title="What the components of each role cost",
        source=SOURCE,
        tasks=[describe_task(batches[0])],
        findings=_findings(by_role, sides),
        caution=(
            "The paper prints Table 1 as changes of the whole model; its notebooks compute what the isolated circuit "
            "loses when one more head is taken away. Both are given. A head without a role is not one that does "
            "nothing: unknown means that no role of the catalogue was shown."
        ),
        tables={"roles": by_role, "components": components},
        figures={},
        settings={
            **{k: v for k, v in pair.settings.to_dict().items() if k in ("bootstrap", "seed", "data")},
            **sides["teacher"].roles.settings,
            "circuit": f"prune, threshold {THRESHOLD}",
        },
        notices=_notices(sides),
    )


def _named(progress: Progress, who: str, stage: str, done: int, total: int) -> None:
    progress(f"{who} {stage}", done, total)


def _measure(pair: PairMeasurements, model: HookedModel, batch: PromptBatch, progress: Progress) -> _Side:
    s = pair.settings
    found = find_roles(
        model,
        batch,
        n_prompts=N_PROMPTS,
        bootstrap=s.bootstrap,
        seed=s.seed,
        batch_size=pair.batch_size,
        resume=pair.resume,
        command=pair.command,
        progress=progress,
    )
    try:
        circuit = discover(
            model,
            batch,
            method="prune",
            threshold=THRESHOLD,
            ablation=s.ablation,
            judged="none",
            bootstrap=s.bootstrap,
            seed=s.seed,
            batch_size=pair.batch_size,
            resume=pair.resume,
            command=pair.command,
            progress=progress,
        )
    except OptionError:  # discover refuses a model that does not do the task; roles are still told
        circuit = None
    drops = component_drops(
        model,
        batch,
        found.influence,
        circuit,
        found.influence.components,
        ablation=s.ablation,
        batch_size=pair.batch_size,
        as_loaded=False,
        progress=progress,
    )
    return _Side(roles=found, circuit=circuit, drops=drops)


def _components_table(sides: Mapping[str, _Side]) -> StudyTable:
    rows: list[dict[str, Cell]] = []
    for who, side in sides.items():
        for component, drop in side.drops.alone.items():
            inside = side.drops.in_circuit.get(component)
            whole = drop.to_dict()
            rows.append(
                {
                    "model": who,
                    "component": str(component),
                    "roles": ", ".join(side.roles.roles[str(component)]) or "unknown",
                    "change": _fall(whole["points"]),
                    "change_ci95": _ends(whole["points_ci95"]),
                    "in_circuit": None if inside is None else _fall(inside.points),
                    "in_circuit_ci95": None if inside is None else _ends(inside.to_dict()["points_ci95"]),
                    "drop": whole["logits"],
                }
            )
    rows.sort(key=lambda row: (row["model"] != "teacher", -number(row["drop"])))
    return StudyTable(
        title="Every component",
        columns=(
            Column(name="model", title="model", kind="text"),
            Column(name="component", title="component", kind="text"),
            Column(name="roles", title="roles", kind="text"),
            Column(name="change", title="change of the model without it", unit="%", digits=2),
            Column(name="change_ci95", title="95%", kind="interval", digits=2),
            Column(name="in_circuit", title="change of its circuit without it", unit="points", digits=2),
            Column(name="in_circuit_ci95", title="95%", kind="interval", digits=2),
            Column(name="drop", title="drop", unit="logits"),
        ),
        rows=tuple(rows),
        note=f"The change of the model is Eq. 4. That of the circuit (prune, threshold {THRESHOLD}) is in points of "
        "the whole model's logit difference, as in the notebooks; none for components outside it. Intervals resample "
        "prompts, the baseline along with them.",
    )


def _fall(points: float | None) -> float | None:
    """A drop as the paper prints it: a change, negative where something is lost."""
    return None if points is None else -points


def _ends(points: Sequence[float] | None) -> tuple[float, float] | None:
    return None if points is None else (-points[1], -points[0])


def _by_role_table(components: StudyTable, sides: Mapping[str, _Side]) -> StudyTable:
    """For each role, who has it in either model and what the strongest of them costs.

    Components that have it as a part of a role that they are listed with have it too: a head of the teacher's that
    moves and collects would else seem to be no collector, and the student's collector a new one.
    """
    held = {
        who: {name: {*roles, *side.roles.implied[name]} for name, roles in side.roles.roles.items()}
        for who, side in sides.items()
    }
    names = dict.fromkeys(
        role for row in components.rows for role in str(row["roles"]).split(", ") if role != "unknown"
    )
    rows: list[dict[str, Cell]] = []
    for role in names:
        row: dict[str, Cell] = {"role": role}
        for who in ("teacher", "student"):
            own = [r for r in components.rows if r["model"] == who and role in held[who][str(r["component"])]]
            first = own[0] if own else None  # rows are in the order of their drops
            row |= {
                who: " ".join(str(r["component"]) for r in own) or "none",
                f"{who}_strongest": None if first is None else first["component"],
                f"{who}_change": None if first is None else first["change"],
                f"{who}_ci95": None if first is None else first["change_ci95"],
                f"{who}_in_circuit": None if first is None else first["in_circuit"],
            }
        rows.append(row)
    both = [
        column
        for who in ("teacher", "student")
        for column in (
            Column(name=who, title=f"{who}'s components", kind="text"),
            Column(name=f"{who}_strongest", title="strongest", kind="text"),
            Column(name=f"{who}_change", title="model without it", unit="%", digits=2),
            Column(name=f"{who}_ci95", title="95%", kind="interval", digits=2),
            Column(name=f"{who}_in_circuit", title="circuit without it", unit="points", digits=2),
        )
    ]
    return StudyTable(
        title="Roles of both models (Table 1)",
        columns=(Column(name="role", title="role", kind="text"), *both),
        rows=tuple(rows),
        note="A role is claimed only if all evidence holds under false discovery control (see circuitkit roles). A "
        "part of another role is counted here, though the component is listed with that role alone.",
    )


def _findings(by_role: StudyTable, sides: Mapping[str, _Side]) -> tuple[str, ...]:
    out = [f"{row['role']}: teacher {row['teacher']}, student {row['student']}." for row in by_role.rows]
    for who, side in sides.items():
        heads = [name for name in side.roles.roles if "H" in name]
        known = sum(bool(side.roles.roles[name]) for name in heads)
        out.append(f"Of the {who}'s {len(heads)} heads, {known} have a role that could be shown.")
    return tuple(out)


def _notices(sides: Mapping[str, _Side]) -> list[str]:
    out = [f"{who.title()}: {warning}" for who, side in sides.items() for warning in side.roles.warnings]
    out += [
        f"The {who} does not do the task well enough to look for its circuit: there is no change in a circuit."
        for who, side in sides.items()
        if side.circuit is None
    ]
    return out
