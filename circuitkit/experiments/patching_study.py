"""Which places of teacher and student carry the answer: activation patching (App. J of Distilled Circuits)."""

from collections.abc import Mapping, Sequence
from functools import partial

from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.few_prompts import first_prompts
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_figure import Heatmap, StudyFigure
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, Column, StudyTable, number
from circuitkit.probes.patching import activation_patching
from circuitkit.probes.patching_map import PatchingMap

SOURCE = "Distilled Circuits (Haskins & Adams 2026), Appendix J"
N_PROMPTS = 64
_TOLD = 3


def patching_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """Patch clean activations into corrupted prompts, block by block and component by component, in both models.

    Args:
        pairs: The pair, alone; its first 64 prompts are used.
        options: Nothing is taken from it.
        progress: Called as patched runs are done.

    Raises:
        OptionError: The task has no corrupted prompts with tokens at the same positions.
    """
    (pair,) = pairs
    s = pair.settings
    maps: dict[str, PatchingMap] = {}
    for who, model, batch in zip(
        ("teacher", "student"),
        (pair.teacher_model, pair.student_model),
        first_prompts(pair, N_PROMPTS, least_even=1),
        strict=True,
    ):
        maps[who] = activation_patching(
            model,
            batch,
            bootstrap=s.bootstrap,
            seed=s.seed,
            batch_size=pair.batch_size,
            resume=pair.resume,
            command=pair.command,
            progress=partial(_named, progress, who),
        )
    places = _places_table(maps)
    return make_study(
        pairs,
        name="patching",
        title="Which places carry the answer",
        source=SOURCE,
        tasks=[maps["teacher"].task],
        findings=_findings(maps, places),
        caution=(
            "A patch that restores the answer shows that the place is enough to carry what tells the two prompts "
            "apart, not that it is needed: other places may carry the same."
        ),
        tables={"places": places},
        figures=_figures(maps),
        settings={**maps["teacher"].settings, "n_prompts": len(maps["teacher"].clean)},
        notices=[f"{who.title()}: {warning}" for who, found in maps.items() for warning in found.warnings],
    )


def _named(progress: Progress, who: str, stage: str, done: int, total: int) -> None:
    progress(f"{who} {stage}", done, total)


def _places_table(maps: Mapping[str, PatchingMap]) -> StudyTable:
    rows: list[dict[str, Cell]] = []
    for who, found in maps.items():
        parts = {row.name: row for row in found.rows}
        for name, places in found.table().items():
            for position, values in places.items():
                rows.append(
                    {
                        "model": who,
                        "part": parts[name].part,
                        "place": name,
                        "position": position,
                        "effect": values["effect"],
                        "ci95": _ends(values["ci95"]),
                        "share": values["share"],
                        "share_ci95": _ends(values["share_ci95"]),
                        "layer_ratio": values["layer_ratio"],
                    }
                )
    rows.sort(key=lambda row: (row["model"] != "teacher", -number(row["effect"])))
    return StudyTable(
        title="Every place",
        columns=(
            Column(name="model", title="model", kind="text"),
            Column(name="part", title="part", kind="text"),
            Column(name="place", title="place", kind="text"),
            Column(name="position", title="at", kind="text"),
            Column(name="effect", title="restored", unit="logits"),
            Column(name="ci95", title="95%", kind="interval", unit="logits"),
            Column(name="share", title="share of the gap"),
            Column(name="share_ci95", title="95%", kind="interval"),
            Column(name="layer_ratio", title="over its layer's mean", digits=2),
        ),
        rows=tuple(rows),
        note="Clean activations in corrupted prompts: what the patch restores of the logit difference, as a share of "
        "clean minus corrupted, and over the mean of the rows of the same part and layer (the paper's form).",
    )


def _ends(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (bounds[0], bounds[1])


def _figures(maps: Mapping[str, PatchingMap]) -> dict[str, StudyFigure]:
    figures: dict[str, StudyFigure] = {}
    for part in ("block", "head", "mlp"):
        for who, found in maps.items():
            shares = found.shares
            values = found.mean_effects if shares is None else shares
            kept = [i for i, row in enumerate(found.rows) if row.part == part]
            if not kept:
                continue
            shown = values[kept].tolist()
            most = max((abs(x) for row in shown for x in row), default=0.0) or 1.0
            figures[f"{part}-{who}"] = Heatmap(
                title=f"{who.title()}: what patching a {part} restores",
                row_title=part,
                column_title="at",
                rows=tuple(found.rows[i].name for i in kept),
                columns=found.positions,
                values=tuple(tuple(row) for row in shown),
                value_title="logits" if shares is None else "share of clean minus corrupted",
                limits=(-most, most),
            )
    return figures


def _findings(maps: Mapping[str, PatchingMap], places: StudyTable) -> tuple[str, ...]:
    out: list[str] = []
    for who, found in maps.items():
        if not found.gap.clear:
            out.append(f"Corruption does not clearly change the {who}'s answer: there is nothing to restore.")
            continue
        single = [
            row
            for row in places.rows
            if row["model"] == who and row["part"] in ("head", "mlp") and row["position"] in found.positions[:-1]
        ]
        best = ", ".join(f"{r['place']} at {r['position']} {100 * number(r['share']):.0f}%" for r in single[:_TOLD])
        out.append(f"Of {found.gap.mean:.2f} logits between clean and corrupted, the {who}'s places restore: {best}.")
    return tuple(out)
