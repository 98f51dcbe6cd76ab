"""Our figure for every published quantity, read off the tables of the finished studies of one pair."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from circuitkit.experiments.study import Study
from circuitkit.experiments.study_table import Cell, number

TEXT, NOTEBOOK = "the paper's text", "the notebooks"
SIDES = ("teacher", "student")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One of our numbers.

    Attributes:
        quantity: As in the published figures.
        task: The task.
        value: The number.
        definition: How it was computed.
        study: The study that holds it.
        side: `teacher` or `student`; None for the pair.
        ci95: Its 95% interval.
        n: Prompts.
        component: The component that it is of.
        role: The role that the component has.
        variant: A definition of the score or of a drop, or a layer.
    """

    quantity: str
    task: str
    value: float
    definition: str
    study: str
    side: str | None = None
    ci95: tuple[float, float] | None = None
    n: int | None = None
    component: str | None = None
    role: str | None = None
    variant: str | None = None


def measured_figures(studies: Mapping[str, Study]) -> tuple[Measured, ...]:
    """Everything that can be compared.

    Args:
        studies: Finished studies of one pair, by the name of their run.
    """
    found: list[Measured] = []
    for run, study in studies.items():
        reader = _READERS.get(study.name)
        if reader is not None:
            found += [replace(one, study=run) for one in reader(study) if math.isfinite(one.value)]
    return tuple(found)


def rows_of(study: Study, table: str) -> list[dict[str, Any]]:
    """The rows of one of its tables; none where it has no such table."""
    return [dict(row) for row in study.tables[table].rows] if table in study.tables else []


def prompts_of(study: Study) -> dict[str, int]:
    """Prompts by task."""
    return {str(task["name"]): int(task["n_prompts"]) for task in study.tasks}


def _one(quantity: str, task: str, value: Cell, definition: str, **more: Any) -> list[Measured]:  # noqa: ANN401 - fields of Measured
    """A figure, if there is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return []
    return [Measured(quantity=quantity, task=task, value=float(value), definition=definition, study="", **more)]


def _only_task(study: Study) -> tuple[str, int]:
    return next(iter(prompts_of(study).items()))


def _cross_task(study: Study) -> Iterable[Measured]:
    for row in rows_of(study, "tasks"):
        more: dict[str, Any] = {"n": row["n_prompts"]}
        for side in SIDES:
            words = "mean logit difference at the answer position, logits"
            yield from _one("logit_diff", row["task"], row[f"{side}_logit_diff"], words, side=side, **more)
        words = "teacher's minus student's mean logit difference, logits"
        yield from _one("delta", row["task"], row["delta"], words, ci95=row["delta_ci95"], **more)
        words = "mean of the two models' mean logit differences, logits"
        yield from _one("mean", row["task"], row["mean"], words, ci95=row["mean_ci95"], **more)


def _definitions(study: Study) -> Iterable[Measured]:
    for row in rows_of(study, "variants"):
        words = (
            f"Eq. 8; {row['normalize']}; {row['similarity']}; {row['direction']}; greedy; ablation {row['ablation']}"
        )
        yield from _one(
            "alignment", row["task"], row["score"], words, ci95=row["ci95"], n=row["n_prompts"], variant=row["variant"]
        )


def _sensitivity(study: Study) -> Iterable[Measured]:
    prompts = prompts_of(study)
    for row in rows_of(study, "cells"):
        cell = f"{row['normalize']}+{row['matching']}"
        words = f"Eq. 8 under {cell}; negative changes clamped"
        yield from _one(
            f"alignment {cell}", row["task"], row["score"], words, ci95=row["ci95"], n=prompts.get(row["task"])
        )


def _robustness(study: Study) -> Iterable[Measured]:
    task, n = _only_task(study)
    rows = {row["quantity"]: row for row in rows_of(study, "summary")}
    names = {
        "mean drop": ("mean_drop", 1.0, "mean over components of clip(100 - retained, 0, 100), %"),
        "share over 10%": ("over_10", 100.0, "components that cost over 10%, %"),
    }
    for name, (quantity, scale, words) in names.items():
        for side in SIDES:
            ends = rows[name][f"{side}_ci95"]
            scaled = None if ends is None else (scale * ends[0], scale * ends[1])
            value = rows[name][side]
            yield from _one(
                quantity, task, None if value is None else scale * value, words, side=side, ci95=scaled, n=n
            )
    gap, beta = rows["mean drop, student − teacher"], rows["brittleness (student − teacher) / C"]
    words = "student's minus teacher's mean drop, percentage points"
    yield from _one("drop_difference", task, gap["student"], words, ci95=gap["student_ci95"], n=n)
    words = "(student's - teacher's mean drop) / C, percentage points per C"
    yield from _one("brittleness", task, beta["student"], words, ci95=beta["student_ci95"], n=n)
    words = "C = 1 - parameters of the student / of the teacher, %"
    yield from _one("compression", task, 100 * number(rows["compression C"]["student"]), words)
    for row in rows_of(study, "components"):
        words = "retained of the whole model without the component, clipped, %"
        if row["percent"] is not None:
            value = 100 - float(row["percent"])
            yield from _one(
                "role_retained", task, value, words, side=row["model"], n=n, component=row["component"], variant="named"
            )


def _roles(study: Study) -> Iterable[Measured]:
    task, n = _only_task(study)
    for row in rows_of(study, "roles"):
        for side in SIDES:
            more: dict[str, Any] = {
                "side": side,
                "n": n,
                "role": row["role"],
                "component": row[f"{side}_strongest"],
            }
            words = "Eq. 4: change of the whole model without it, % (the paper's text)"
            ends = row[f"{side}_ci95"]
            yield from _one("role_drop", task, row[f"{side}_change"], words, ci95=ends, variant="whole model", **more)
            words = "change of the isolated circuit without it, points of the model's answer (the notebooks)"
            yield from _one("role_drop", task, row[f"{side}_in_circuit"], words, variant="in circuit", **more)
            change = row[f"{side}_change"]
            if change is not None:
                words = "retained of the whole model without it, %"
                yield from _one("role_retained", task, 100 + float(change), words, variant="by role", **more)
    for row in rows_of(study, "components"):
        words = "Eq. 4: change of the whole model without it, % (the paper's text)"
        more = {"side": row["model"], "n": n, "component": row["component"]}
        ends = row["change_ci95"]
        yield from _one("role_drop", task, row["change"], words, ci95=ends, variant="whole model, named", **more)
        words = "change of the isolated circuit without it, points of the model's answer (the notebooks)"
        yield from _one("role_drop", task, row["in_circuit"], words, variant="in circuit, named", **more)


def _noise(study: Study) -> Iterable[Measured]:
    task, n = _only_task(study)
    levels = [row for row in rows_of(study, "levels") if row["where"] == "compared"]
    if levels:
        last = levels[-1]
        words = f"A at noise of sd {last['sd']:g} on what is compared, mean of the draws"
        yield from _one("noise_plateau", task, last["score"], words, ci95=last["ci95"], n=n)


def _threshold(study: Study) -> Iterable[Measured]:
    task, n = _only_task(study)
    for row in rows_of(study, "circuits"):
        if row["threshold"] != 0.2:  # noqa: PLR2004 - the paper's T_n
            continue
        words = "what the circuit at T_n = 20% alone loses of the model's answer, %"
        whole, alone = row["model_logit_diff"], row["logit_diff"]
        value = 100 - 100 * float(alone) / float(whole) if whole and alone is not None else None
        yield from _one("circuit_drop", task, value, words, side=row["model"], n=n)
        words = "logit difference with the circuit at T_n = 20% replaced, logits"
        yield from _one("complement_logit_diff", task, row["complement_logit_diff"], words, side=row["model"], n=n)


def _probes(study: Study) -> Iterable[Measured]:
    task, n = _only_task(study)
    names = {"sequence": "sequence", "next": "next", "previous": "previous", "prior-occurrence": "prior"}
    for row in rows_of(study, "targets"):
        target = str(row["target"])
        quantity = "element" if target.startswith("element-") else names.get(target)
        for side in SIDES if quantity else ():
            scale = 1.0 if quantity == "element" else 100.0
            words = f"best held-out {row['metric']} of a linear probe for {target}, at {row[f'{side}_best']}"
            value, ends = row[f"{side}_value"], row[f"{side}_ci95"]
            yield from _one(
                f"probe {quantity}",
                task,
                None if value is None else scale * float(value),
                words + ("" if quantity == "element" else ", %"),
                side=side,
                ci95=None if ends is None else (scale * ends[0], scale * ends[1]),
                n=n,
                variant=target,
            )


def _patching(study: Study) -> Iterable[Measured]:
    task, n = _only_task(study)
    for side in SIDES:
        own = [
            row
            for row in rows_of(study, "places")
            if row["model"] == side and row["part"] == "head" and row["position"] == "END" and row["layer_ratio"]
        ]
        if own:
            first = max(own, key=lambda row: float(row["effect"]))
            words = "effect of patching the strongest head at END over the mean of its layer"
            yield from _one(
                "patching peak", task, first["layer_ratio"], words, side=side, n=n, component=first["place"]
            )


_READERS = {
    "cross-task": _cross_task,
    "definitions": _definitions,
    "sensitivity": _sensitivity,
    "robustness": _robustness,
    "roles": _roles,
    "noise": _noise,
    "threshold": _threshold,
    "probes": _probes,
    "patching": _patching,
}
