"""Our figures for what the paper prints of layers and MLPs: sections 3.2.2, Appendix I and J."""

from collections.abc import Iterable, Mapping
from typing import Any

from circuitkit.experiments.reproduce.measured_figure import SIDES, Measured, one, only_task, rows_of
from circuitkit.experiments.study import Study

LAST_PAIR, LAST = "last MLPs", "last MLP"
_TOKENS = {"every": "all tokens", "first": "first token", "other": "other tokens"}


def perfect_from(study: Study) -> Iterable[Measured]:
    """The first layer from which on a probe tells an element in every held-out prompt.

    Args:
        study: `probes`.
    """
    task, n = only_task(study)
    curves: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows_of(study, "curves"):
        if str(row["target"]).startswith("element-"):
            curves.setdefault((row["model"], row["target"]), []).append(row)
    for (side, target), rows in curves.items():
        layers = [row for row in rows if row["row"] != rows[0]["row"]]  # the first is the embedding
        perfect = [float(row["value"]) == 1 for row in layers]
        first = next((i for i in range(len(layers)) if all(perfect[i:])), None)
        best = max(layers, key=lambda row: float(row["value"]))
        words = f"first layer from which on a linear probe tells {target} in every held-out prompt"
        if first is None:
            words += f"; there is none (best {float(best['value']):.3f} at {best['row']})"
        yield Measured(
            quantity="probe element perfect from",
            task=task,
            value=None if first is None else float(str(layers[first]["row"]).removeprefix("L")),
            definition=words,
            study="",
            side=side,
            n=n,
            variant=target,
        )


def patching_gains(studies: Mapping[str, Study]) -> Iterable[Measured]:
    """What patching the block of the numeral detection head restores; the unit of the printed gain is not stated.

    Both readings of it are given, at the position where the block restores most. Without such a head the layer is the
    one whose block adds most.

    Args:
        studies: Finished studies of a pair; `patching` is needed, and `roles` says where the head is.
    """
    by_name = {study.name: (run, study) for run, study in studies.items()}
    if "patching" not in by_name:
        return
    run, study = by_name["patching"]
    task, n = only_task(study)
    roles = rows_of(by_name["roles"][1], "roles") if "roles" in by_name else []
    for side in SIDES:
        shares: dict[str, list[float]] = {}
        own = [row for row in rows_of(study, "places") if (row["model"], row["part"]) == (side, "block")]
        for row in sorted(own, key=lambda row: _layer(row["place"])):
            if row["position"] != "all tokens" and row["share"] is not None:
                shares.setdefault(row["position"], []).append(float(row["share"]))
        if not shares:
            continue
        head = next((row[f"{side}_strongest"] for row in roles if row["role"] == "numeral-detection"), None)
        rises = [(b - a, at, i) for at, x in shares.items() for i, (a, b) in enumerate(zip(x, x[1:], strict=False))]
        at = max(rises)[1:] if head is None else None
        layer = at[1] if at is not None else int(str(head)[1:].partition("H")[0])
        where = at[0] if at is not None else max(shares, key=lambda name: shares[name][layer + 1])
        which = "the block that adds most" if head is None else f"the block of the numeral detection head {head}"
        more: dict[str, Any] = {"side": side, "n": n, "component": f"block{layer}"}
        words = f"share of clean minus corrupted that patching {which}, block{layer}, at {where} restores"
        for value, what, variant in (
            (shares[where][layer + 1], words, "share"),
            (
                shares[where][layer + 1] - shares[where][layer],
                f"{words}, beyond what the block before it does",
                "rise",
            ),
        ):
            yield Measured(
                quantity="patching gain", task=task, value=value, definition=what, study=run, variant=variant, **more
            )


def _layer(place: str) -> int:
    return -1 if place == "embed" else int(place.removeprefix("block"))


def mlp_cosines_of(study: Study) -> Iterable[Measured]:
    """Cosines of every teacher MLP with every student MLP, and of the streams behind them.

    Args:
        study: `mlp`.
    """
    task, n = only_task(study)
    rows = rows_of(study, "mlps")
    last = (rows[-1]["teacher"], rows[-1]["student"]) if rows else None
    for row in rows:
        names = row["teacher"], row["student"]
        more: dict[str, Any] = {
            "n": n,
            "component": f"{names[0]} with {names[1]}",
            "role": LAST_PAIR if names == last else None,
        }
        for name, variant in _TOKENS.items():
            words = f"cosine of MLP outputs token by token, mean over {variant}, then over prompts"
            ends = row[f"{name}_ci95"]
            yield from one("mlp_cosine", task, row[name], words, ci95=ends, variant=variant, **more)
        words = "cosine of the mean residual streams behind the two layers"
        yield from one("mlp_cosine", task, row.get("stream"), words, variant="mean stream", **more)


def mlp_drops(study: Study) -> Iterable[Measured]:
    """What the whole model loses without one MLP.

    Args:
        study: `roles`.
    """
    task, n = only_task(study)
    for side in SIDES:
        rows = [r for r in rows_of(study, "components") if r["model"] == side and r["component"].startswith("MLP")]
        last = max((int(row["component"].removeprefix("MLP")) for row in rows), default=-1)
        for row in rows:
            role = LAST if row["component"] == f"MLP{last}" else None
            words = "Eq. 4: change of the whole model without it, %, not clamped (the paper's text)"
            more: dict[str, Any] = {"side": side, "n": n, "component": row["component"], "role": role}
            yield from one("mlp_drop", task, row["change"], words, ci95=row["change_ci95"], **more)
