"""Claims of the paper, judged by rule on one pair's finished studies."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from scipy.stats import spearmanr

from circuitkit.experiments.published.figures import PublishedPair, published
from circuitkit.experiments.reproduce.claim import ALPHA, Claim, unmeasured
from circuitkit.experiments.reproduce.measured_figure import rows_of
from circuitkit.experiments.reproduce.reliance_claims import fewer_components, higher_drops
from circuitkit.experiments.study import Study

_LEAST_TASKS = 3
_NOISE = -0.9  # Spearman correlation that counts as falling (ALIGNMENT laws)
_CELLS = 0.6  # one-sided 5% value of a Spearman correlation of nine


def judge_claims(studies: Mapping[str, Study], pair: PublishedPair | None) -> tuple[Claim, ...]:
    """Every claim on one pair.

    Args:
        studies: Finished studies by the name of their run; a claim whose study is missing is not comparable.
        pair: The paper's pair that is like this one.
    """
    by_name = {study.name: study for study in studies.values()}
    return (
        fewer_components(by_name.get("reliance")),
        higher_drops(by_name.get("reliance")),
        _smaller_circuit(by_name.get("threshold")),
        _order_of_tasks(by_name.get("cross-task")),
        _above_control(by_name.get("cross-task")),
        _noise(by_name.get("noise")),
        _cells(by_name.get("sensitivity"), pair),
    )


def _smaller_circuit(study: Study | None) -> Claim:
    claim, source = "The student's circuit has fewer components.", "section 3.1, Appendix N"
    rule = (
        "It has fewer at every threshold. "
        "Null: it is also a smaller share of the model's components at every threshold."
    )
    if study is None:
        return unmeasured(claim, source, rule)
    rows = rows_of(study, "circuits")
    both = {who: {r["threshold"]: r for r in rows if r["model"] == who} for who in ("teacher", "student")}
    at = sorted(set(both["teacher"]) & set(both["student"]))
    fewer = [both["student"][x]["n_nodes"] < both["teacher"][x]["n_nodes"] for x in at]
    share = [both["student"][x]["share"] < both["teacher"][x]["share"] for x in at]
    return Claim(
        claim=claim,
        source=source,
        rule=rule,
        verdict="holds" if all(fewer) else "does not hold",
        evidence="; ".join(
            f"T_n {x:g}: teacher {both['teacher'][x]['n_nodes']}, student {both['student'][x]['n_nodes']}" for x in at
        ),
        null=all(share),
        beside=f"a smaller share at {sum(share)} of {len(share)} thresholds",
    )


def _order_of_tasks(study: Study | None) -> Claim:
    claim = "Over tasks, alignment is lower where the gap in logit difference is larger."
    source = "section 4.2.2, Table 3"
    rule = (
        "With three tasks or more, the order of A is the reverse of the order of teacher minus student. Null: so is "
        "that of A*, calibrated against shuffled influences. Control: so is that of A minus A before distillation."
    )
    rows = [] if study is None else rows_of(study, "tasks")
    if len(rows) < _LEAST_TASKS:
        return unmeasured(claim, source, rule, "There are fewer than three tasks.")
    order = [r["task"] for r in sorted(rows, key=lambda r: abs(r["delta"]))]
    ranked = [r["task"] for r in sorted(rows, key=lambda r: -r["score"])]
    starred = [r["task"] for r in sorted(rows, key=lambda r: -(r["calibrated"] or 0.0))]
    known = all(r["before"] is not None for r in rows)
    above = [r["task"] for r in sorted(rows, key=lambda r: -(r["score"] - (r["before"] or 0.0)))]
    calibrated = all(r["calibrated"] is not None for r in rows)
    return Claim(
        claim=claim,
        source=source,
        rule=rule,
        verdict="holds" if ranked == order else "does not hold",
        evidence="; ".join(f"{r['task']}: A {r['score']:.3f}, gap {r['delta']:.2f} logits" for r in rows),
        null=starred == order if calibrated else None,
        control=above == order if known else None,
        beside="; ".join(
            f"{r['task']}: A* {r['calibrated'] if r['calibrated'] is not None else float('nan'):.3f}"
            + (f", before {r['before']:.3f}" if r["before"] is not None else "")
            for r in rows
        ),
    )


def _above_control(study: Study | None) -> Claim:
    claim = "The score measures what distillation preserved."
    source = "abstract, section 4"
    rule = (
        "A is higher than before distillation, with layers copied and nothing learned, on every task. Null: A is above "
        "shuffled influences on every task (p ≤ .05)."
    )
    rows = [] if study is None else rows_of(study, "tasks")
    known = [r for r in rows if r["before"] is not None]
    if not known:
        return unmeasured(claim, source, rule, "How the student was initialised is not known.")
    higher = all(r["score"] > r["before"] for r in known)
    return Claim(
        claim=claim,
        source=source,
        rule=rule,
        verdict="holds" if higher else "does not hold",
        evidence="; ".join(f"{r['task']}: A {r['score']:.3f}, before {r['before']:.3f}" for r in known),
        null=all(r["p"] is not None and r["p"] <= ALPHA for r in known),
        control=higher,
        beside="; ".join(f"{r['task']}: p = {r['p'] if r['p'] is not None else float('nan'):.3f}" for r in known),
    )


def _noise(study: Study | None) -> Claim:
    claim, source = "Alignment falls as noise grows on the student's activations.", "section 4.2.1, Figure 3"
    rule = (
        f"The rank correlation of A with the level is {_NOISE} or lower. Null: what A has above shuffled influences is "
        "smaller at the last level than at the first."
    )
    rows = [] if study is None else [r for r in rows_of(study, "levels") if r["where"] == "compared"]
    if len(rows) < _LEAST_TASKS:
        return unmeasured(claim, source, rule)
    found: Any = spearmanr([r["sd"] for r in rows], [r["score"] for r in rows])  # untyped in scipy
    rho = float(found.statistic)
    rises = sum(b["score"] > a["score"] for a, b in zip(rows, rows[1:], strict=False))
    has_null = all(r["null"] is not None for r in (rows[0], rows[-1]))
    above = [r["score"] - (r["null"] or 0.0) for r in (rows[0], rows[-1])]
    return Claim(
        claim=claim,
        source=source,
        rule=rule,
        verdict="holds" if rho <= _NOISE else "does not hold",
        evidence=f"A {rows[0]['score']:.3f} at {rows[0]['sd']:g}, {rows[-1]['score']:.3f} at {rows[-1]['sd']:g}; rank "
        f"correlation {rho:.3f}; it rises in {rises} of {len(rows) - 1} steps",
        null=above[1] < above[0] if has_null else None,
        beside=f"above shuffled influences: {above[0]:.3f} at first, {above[1]:.3f} at last" if has_null else "",
    )


def _cells(study: Study | None, pair: PublishedPair | None) -> Claim:
    claim, source = "Normalisations and matchings rank as in Table 5.", "Appendix M, Table 5"
    rule = (
        f"Our nine scores and the paper's of the like pair have a rank correlation above {_CELLS} (one-sided 5% of "
        "nine), on the mean over tasks. Null: all nine are above shuffled influences on every task (p ≤ .05)."
    )
    if study is None or pair is None:
        return unmeasured(claim, source, rule)
    rows = rows_of(study, "cells")
    names = list(dict.fromkeys(f"{r['normalize']}+{r['matching']}" for r in rows))
    mine = [fmean(r["score"] for r in rows if f"{r['normalize']}+{r['matching']}" == name) for name in names]
    theirs = {f.quantity.removeprefix("alignment "): f.value for f in published().of_pair(pair.name)}
    if any(name not in theirs for name in names):
        return unmeasured(claim, source, rule, "The paper prints no such table for this pair.")
    found: Any = spearmanr(mine, [theirs[name] for name in names])  # untyped in scipy
    rho = float(found.statistic)
    above = [r for r in rows if r["p"] is not None and r["p"] <= ALPHA]
    order = sorted(zip(names, mine, strict=True), key=lambda item: -item[1])
    return Claim(
        claim=claim,
        source=source,
        rule=rule,
        verdict="holds" if rho > _CELLS else "does not hold",
        evidence=f"rank correlation {rho:.2f}; ours: {', '.join(f'{name} {x:.3f}' for name, x in order)}",
        null=len(above) == len(rows),
        beside=f"{len(above)} of {len(rows)} above shuffled influences",
    )


def pairs_in_order(studies: Mapping[str, Mapping[str, Study]]) -> Claim | None:
    """Over pairs: whether all nine options order them alike; None for fewer than three pairs.

    Args:
        studies: Finished studies of each pair.
    """
    found = {pair: next((s for s in own.values() if s.name == "sensitivity"), None) for pair, own in studies.items()}
    rows = {pair: rows_of(study, "cells") for pair, study in found.items() if study is not None}
    common = set[str].intersection(*({str(r["task"]) for r in own} for own in rows.values())) if rows else set[str]()
    cells: dict[str, dict[str, float]] = {}
    for pair, own in rows.items():
        shared = [r for r in own if r["task"] in common]
        for name in dict.fromkeys(f"{r['normalize']}+{r['matching']}" for r in shared):
            values = [r["score"] for r in shared if f"{r['normalize']}+{r['matching']}" == name]
            cells.setdefault(name, {})[pair] = fmean(values)
    if not cells or min(len(scores) for scores in cells.values()) < _LEAST_TASKS:
        return None
    orders = {name: tuple(sorted(scores, key=lambda pair: -scores[pair])) for name, scores in cells.items()}
    counts = {order: list(orders.values()).count(order) for order in dict.fromkeys(orders.values())}
    return Claim(
        claim="The order of the pairs does not depend on normalisation and matching.",
        source="Appendix M, Table 5",
        rule="All nine options order the pairs alike, on the mean over the tasks that all of them have.",
        verdict="holds" if len(counts) == 1 else "does not hold",
        evidence="; ".join(f"{' > '.join(order)} under {n} of {len(orders)}" for order, n in counts.items()),
    )
