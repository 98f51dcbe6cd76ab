"""Our figure for every published quantity, read off the tables of the finished studies of one pair."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from circuitkit.experiments.reproduce.measured_figure import SIDES, Measured, one, only_task, prompts_of, rows_of
from circuitkit.experiments.reproduce.measured_layers import mlp_cosines_of, mlp_drops, patching_gains, perfect_from
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_table import number


def measured_figures(studies: Mapping[str, Study]) -> tuple[Measured, ...]:
    """Everything that can be compared.

    Args:
        studies: Finished studies of one pair, by the name of their run.
    """
    found: list[Measured] = []
    for run, study in studies.items():
        reader = _READERS.get(study.name)
        if reader is not None:
            found += [replace(figure, study=run) for figure in reader(study)]
    found += patching_gains(studies)
    return tuple(figure for figure in found if figure.value is None or math.isfinite(figure.value))


def _cross_task(study: Study) -> Iterable[Measured]:
    for row in rows_of(study, "tasks"):
        more: dict[str, Any] = {"n": row["n_prompts"]}
        for side in SIDES:
            words = "mean logit difference at the answer position, logits"
            yield from one("logit_diff", row["task"], row[f"{side}_logit_diff"], words, side=side, **more)
        words = "teacher's minus student's mean logit difference, logits"
        yield from one("delta", row["task"], row["delta"], words, ci95=row["delta_ci95"], **more)
        words = "mean of the two models' mean logit differences, logits"
        yield from one("mean", row["task"], row["mean"], words, ci95=row["mean_ci95"], **more)


def _definitions(study: Study) -> Iterable[Measured]:
    for row in rows_of(study, "variants"):
        words = (
            f"Eq. 8; {row['normalize']}; {row['similarity']}; {row['direction']}; greedy; ablation {row['ablation']}"
        )
        yield from one(
            "alignment", row["task"], row["score"], words, ci95=row["ci95"], n=row["n_prompts"], variant=row["variant"]
        )


def _sensitivity(study: Study) -> Iterable[Measured]:
    prompts = prompts_of(study)
    for row in rows_of(study, "cells"):
        cell = f"{row['normalize']}+{row['matching']}"
        words = f"Eq. 8 under {cell}; negative changes clamped"
        yield from one(
            f"alignment {cell}", row["task"], row["score"], words, ci95=row["ci95"], n=prompts.get(row["task"])
        )


def _robustness(study: Study) -> Iterable[Measured]:
    task, n = only_task(study)
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
            yield from one(quantity, task, None if value is None else scale * value, words, side=side, ci95=scaled, n=n)
    gap, beta = rows["mean drop, student − teacher"], rows["brittleness (student − teacher) / C"]
    words = "student's minus teacher's mean drop, percentage points"
    yield from one("drop_difference", task, gap["student"], words, ci95=gap["student_ci95"], n=n)
    words = "(student's - teacher's mean drop) / C, percentage points per C"
    yield from one("brittleness", task, beta["student"], words, ci95=beta["student_ci95"], n=n)
    words = "C = 1 - parameters of the student / of the teacher, %"
    yield from one("compression", task, 100 * number(rows["compression C"]["student"]), words)
    for row in rows_of(study, "components"):
        words = "retained of the whole model without the component, clipped, %"
        if row["percent"] is not None:
            value = 100 - float(row["percent"])
            yield from one(
                "role_retained", task, value, words, side=row["model"], n=n, component=row["component"], variant="named"
            )


def _roles(study: Study) -> Iterable[Measured]:
    task, n = only_task(study)
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
            yield from one("role_drop", task, row[f"{side}_change"], words, ci95=ends, variant="whole model", **more)
            words = "change of the isolated circuit without it, points of the model's answer (the notebooks)"
            yield from one("role_drop", task, row[f"{side}_in_circuit"], words, variant="in circuit", **more)
            change = row[f"{side}_change"]
            if change is not None:
                words = "retained of the whole model without it, %"
                yield from one("role_retained", task, 100 + float(change), words, variant="by role", **more)
    for row in rows_of(study, "components"):
        words = "Eq. 4: change of the whole model without it, % (the paper's text)"
        more = {"side": row["model"], "n": n, "component": row["component"]}
        ends = row["change_ci95"]
        yield from one("role_drop", task, row["change"], words, ci95=ends, variant="whole model, named", **more)
        words = "change of the isolated circuit without it, points of the model's answer (the notebooks)"
        yield from one("role_drop", task, row["in_circuit"], words, variant="in circuit, named", **more)
    yield from mlp_drops(study)


def _noise(study: Study) -> Iterable[Measured]:
    task, n = only_task(study)
    levels = [row for row in rows_of(study, "levels") if row["where"] == "compared"]
    if levels:
        last = levels[-1]
        words = f"A at noise of sd {last['sd']:g} on what is compared, mean of the draws"
        yield from one("noise_plateau", task, last["score"], words, ci95=last["ci95"], n=n)


def _threshold(study: Study) -> Iterable[Measured]:
    task, n = only_task(study)
    for row in rows_of(study, "circuits"):
        if row["threshold"] != 0.2:  # noqa: PLR2004 - the paper's T_n
            continue
        words = "what the circuit at T_n = 20% alone loses of the model's answer, %"
        whole, alone = row["model_logit_diff"], row["logit_diff"]
        value = 100 - 100 * float(alone) / float(whole) if whole and alone is not None else None
        yield from one("circuit_drop", task, value, words, side=row["model"], n=n)
        words = "logit difference with the circuit at T_n = 20% replaced, logits"
        yield from one("complement_logit_diff", task, row["complement_logit_diff"], words, side=row["model"], n=n)


def _probes(study: Study) -> Iterable[Measured]:
    task, n = only_task(study)
    names = {"sequence": "sequence", "next": "next", "previous": "previous", "prior-occurrence": "prior"}
    for row in rows_of(study, "targets"):
        target = str(row["target"])
        quantity = "element" if target.startswith("element-") else names.get(target)
        for side in SIDES if quantity else ():
            scale = 1.0 if quantity == "element" else 100.0
            words = f"best held-out {row['metric']} of a linear probe for {target}, at {row[f'{side}_best']}"
            value, ends = row[f"{side}_value"], row[f"{side}_ci95"]
            yield from one(
                f"probe {quantity}",
                task,
                None if value is None else scale * float(value),
                words + ("" if quantity == "element" else ", %"),
                side=side,
                ci95=None if ends is None else (scale * ends[0], scale * ends[1]),
                n=n,
                variant=target,
            )
    yield from perfect_from(study)


def _patching(study: Study) -> Iterable[Measured]:
    task, n = only_task(study)
    for side in SIDES:
        own = [
            row
            for row in rows_of(study, "places")
            if row["model"] == side and row["part"] == "head" and row["position"] == "END" and row["layer_ratio"]
        ]
        if own:
            first = max(own, key=lambda row: float(row["effect"]))
            words = "effect of patching the strongest head at END over the mean of its layer"
            yield from one("patching peak", task, first["layer_ratio"], words, side=side, n=n, component=first["place"])


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
    "mlp": mlp_cosines_of,
}
