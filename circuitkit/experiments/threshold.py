"""How the circuits of both models depend on the threshold that they are found with (App. N of Distilled Circuits)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from circuitkit.alignment.prompts import shared_batches
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.discovery.circuit import Circuit
from circuitkit.discovery.circuit_sweep import PARAMETERS, CircuitSweep, sweep_circuits
from circuitkit.discovery.discover import N_PROMPTS, discover
from circuitkit.discovery.floor import check_able
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_figure import Chart, Series, Who
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, Column, StudyTable
from circuitkit.interventions.rows import clean_logit_diff
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.describe import describe_task

SOURCE = "Distilled Circuits (Haskins & Adams 2026), Appendix N"
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
FEW_PROMPTS = 16
MANY_COMPONENTS = 200
"""Models with more components than this are searched on few prompts: a search runs them hundreds of times."""
SEARCHES = tuple(name for name, parameter in PARAMETERS.items() if parameter == "threshold")


def threshold_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """Find a circuit in teacher and student at each threshold, on the same prompts.

    Args:
        pairs: The pair, alone. Circuits are searched on its first 64 prompts, 16 where the teacher has more than 200
            components.
        options: `levels` are the thresholds, `search` the method: `prune` (default) or `path-patching`.
        progress: Called as the searches advance.

    Raises:
        OptionError: There is no such method, a threshold is out of range, or a model does not do the task.
    """
    (pair,) = pairs
    method, values = options.search or "prune", options.levels or THRESHOLDS
    if method not in SEARCHES:
        raise OptionError(f"--search {method!r} has no threshold to sweep; choose one of {', '.join(SEARCHES)}.")
    batches = _batches(pair)
    _check_both(pair, batches)
    sweeps = {
        who: _sweep(pair, who, batch, method=method, values=values, progress=progress)
        for who, batch in zip(("teacher", "student"), batches, strict=True)
    }
    return make_study(
        pairs,
        name="threshold",
        title="Circuits of both models over the threshold",
        source=SOURCE,
        tasks=[describe_task(batches[0])],
        findings=_findings(sweeps),
        caution=(
            "Circuits of neighbouring thresholds need not be nested, and each is judged on the prompts that it was "
            "found on. The share of components kept, not their number, compares models of different size."
        ),
        tables={"circuits": _table(pair, sweeps)},
        figures={"size": _size_figure(pair, sweeps), "quality": _quality_figure(sweeps)},
        settings={
            **{k: v for k, v in pair.settings.to_dict().items() if k in ("ablation", "bootstrap", "seed", "data")},
            "n_prompts": len(batches[0].pairs),
            "search": method,
            "thresholds": list(values),
            "as_loaded": pair.as_loaded,
        },
        notices=(*_about_prompts(pair), *_notices(sweeps)),
    )


def _batches(pair: PairMeasurements) -> tuple[PromptBatch, PromptBatch]:
    """The pair's first prompts: searches run a model many times."""
    most = _most_prompts(pair)
    if pair.settings.n_prompts <= most:
        return pair.batches
    return shared_batches(
        pair.teacher_model,
        pair.student_model,
        pair.task,
        n_prompts=most,
        seed=pair.settings.seed,
        need_corrupted=pair.settings.ablation.needs_corrupted,
    )


def _check_both(pair: PairMeasurements, batches: tuple[PromptBatch, PromptBatch]) -> None:
    """Refuse a pair before the searches of one model, if the other does not do the task.

    Raises:
        OptionError: One of them does not.
    """
    models = pair.teacher_model, pair.student_model
    for who, model, batch in zip(("teacher", "student"), models, batches, strict=True):
        try:
            check_able(clean_logit_diff(model, batch), model=model.info.name, task=batch.task.name)
        except OptionError as error:
            raise OptionError(f"In the {who}: {error}") from error


def _most_prompts(pair: PairMeasurements) -> int:
    """As many as `discover` takes unless told otherwise; few in large models."""
    return N_PROMPTS if _n_components(pair, "teacher") <= MANY_COMPONENTS else FEW_PROMPTS


def _about_prompts(pair: PairMeasurements) -> tuple[str, ...]:
    if pair.settings.n_prompts <= _most_prompts(pair):
        return ()
    return (
        f"{pair.settings.n_prompts} prompts were asked for; circuits were searched and judged on the first "
        f"{_most_prompts(pair)}, since every search runs the models many times.",
    )


def _sweep(
    pair: PairMeasurements, who: str, batch: PromptBatch, *, method: str, values: Sequence[float], progress: Progress
) -> CircuitSweep:
    model = pair.teacher_model if who == "teacher" else pair.student_model

    def search(given: Mapping[str, Any], inner: Progress) -> Circuit:
        return discover(
            model,
            batch,
            method=method,
            ablation=pair.settings.ablation,
            judged="basic",
            bootstrap=pair.settings.bootstrap,
            seed=pair.settings.seed,
            batch_size=pair.batch_size,
            resume=pair.resume,
            command=pair.command,
            as_loaded=pair.as_loaded,
            progress=inner,
            **given,
        )

    try:
        return sweep_circuits(search, method, values, progress=partial(_named, progress, who))
    except OptionError as error:
        raise OptionError(f"In the {who}: {error}") from error


def _named(progress: Progress, who: str, stage: str, done: int, total: int) -> None:
    progress(f"{who} {stage}", done, total)


def _mean_of(circuit: Circuit, name: str) -> float | None:
    """A mean logit difference of a judged circuit; None where it was not judged."""
    return None if circuit.faithfulness is None else circuit.faithfulness[name]


def _n_components(pair: PairMeasurements, who: str) -> int:
    return len((pair.teacher_model if who == "teacher" else pair.student_model).components)


def _notices(sweeps: Mapping[str, CircuitSweep]) -> tuple[str, ...]:
    found = {who: list(dict.fromkeys(w for c in sweep.circuits for w in c.notices)) for who, sweep in sweeps.items()}
    shared = [w for w in found["teacher"] if w in found["student"]]
    return (*shared, *(f"{who.title()}: {w}" for who, own in found.items() for w in own if w not in shared))


def _table(pair: PairMeasurements, sweeps: Mapping[str, CircuitSweep]) -> StudyTable:
    rows: list[dict[str, Cell]] = []
    for who, sweep in sweeps.items():
        n = _n_components(pair, who)
        for point, circuit in zip(sweep.points(), sweep.circuits, strict=True):
            ends = point.get("ci95")
            rows.append(
                {
                    "model": who,
                    "threshold": point["value"],
                    "n_nodes": point["n_nodes"],
                    "share": point["n_nodes"] / n,
                    "n_edges": point["n_edges"],
                    "faithfulness": point.get("faithfulness"),
                    "ci95": None if ends is None else (ends[0], ends[1]),
                    "logit_diff": point.get("circuit_logit_diff"),
                    "model_logit_diff": _mean_of(circuit, "model_logit_diff"),
                    "complement_logit_diff": _mean_of(circuit, "complement_logit_diff"),
                    "complement_share": point.get("complement_share"),
                    "kl": point.get("kl"),
                    "accuracy": point.get("accuracy"),
                    "nodes": " ".join(map(str, circuit.nodes)),
                }
            )
    return StudyTable(
        title="One circuit a row",
        columns=(
            Column(name="model", title="model", kind="text"),
            Column(name="threshold", title="threshold", digits=3),
            Column(name="n_nodes", title="components", kind="count"),
            Column(name="share", title="share of all"),
            Column(name="n_edges", title="edges", kind="count"),
            Column(name="faithfulness", title="faithfulness"),
            Column(name="ci95", title="95%", kind="interval"),
            Column(name="logit_diff", title="its logit difference", unit="logits", digits=2),
            Column(name="model_logit_diff", title="the model's", unit="logits", digits=2),
            Column(name="complement_logit_diff", title="with the circuit replaced", unit="logits", digits=2),
            Column(name="complement_share", title="left without it"),
            Column(name="kl", title="KL", unit="nats"),
            Column(name="accuracy", title="accuracy", digits=2),
            Column(name="nodes", title="which", kind="text"),
        ),
        rows=tuple(rows),
        note="The threshold is the share of the model's logit difference that the circuit may lose. Faithfulness is 1 "
        "for the whole model and 0 with everything replaced.",
    )


def _findings(sweeps: Mapping[str, CircuitSweep]) -> tuple[str, ...]:
    out: list[str] = []
    for who, sweep in sweeps.items():
        ordered = sorted(sweep.points(), key=lambda point: point["value"])
        sizes = [point["n_nodes"] for point in ordered]
        falls = all(a >= b for a, b in zip(sizes, sizes[1:], strict=False))
        total = len(sweep.circuits[0].space.senders) - 1
        if len(sizes) == 1:
            out.append(f"The {who}'s circuit has {sizes[0]} of {total} components at {ordered[0]['value']:g}.")
            continue
        out.append(
            f"The {who}'s circuit goes from {sizes[0]} of {total} components at {ordered[0]['value']:g} to "
            f"{sizes[-1]} at {ordered[-1]['value']:g}{'' if falls else ', and not always downwards'}."
        )
    values = [point["value"] for point in sweeps["teacher"].points()]
    share = {
        who: [p["n_nodes"] / (len(s.circuits[0].space.senders) - 1) for p in s.points()] for who, s in sweeps.items()
    }
    fewer = sum(len(s.nodes) < len(t.nodes) for t, s in zip(*(sweeps[w].circuits for w in sweeps), strict=True))
    larger = sum(s > t for t, s in zip(share["teacher"], share["student"], strict=True))
    out.append(
        f"The student's circuit has fewer components than the teacher's at {fewer} of {len(values)} thresholds, and is "
        f"a larger share of its model at {larger}."
    )
    return tuple(out)


def _lines(sweeps: Mapping[str, CircuitSweep], key: str, scale: Mapping[str, float] | None = None) -> list[Series]:
    out: list[Series] = []
    for who, sweep in sweeps.items():
        points = sorted(sweep.points(), key=lambda point: point["value"])
        ends = [p.get("ci95") for p in points] if key == "faithfulness" else []
        known = bool(ends) and all(e is not None for e in ends)
        colour: Who = "teacher" if who == "teacher" else "student"
        out.append(
            Series(
                name=who,
                x=tuple(float(p["value"]) for p in points),
                y=tuple(None if p.get(key) is None else p[key] / (scale or {}).get(who, 1.0) for p in points),
                low=tuple(e[0] for e in ends if e) if known else None,
                high=tuple(e[1] for e in ends if e) if known else None,
                who=colour,
            )
        )
    return out


def _size_figure(pair: PairMeasurements, sweeps: Mapping[str, CircuitSweep]) -> Chart:
    return Chart(
        kind="lines",
        title="Size of the circuit",
        x_title="threshold (share of the answer that may be lost)",
        y_title="share of the model's components",
        series=tuple(_lines(sweeps, "n_nodes", {who: float(_n_components(pair, who)) for who in sweeps})),
    )


def _quality_figure(sweeps: Mapping[str, CircuitSweep]) -> Chart:
    return Chart(
        kind="lines",
        title="Faithfulness of the circuit",
        x_title="threshold (share of the answer that may be lost)",
        y_title="faithfulness",
        series=tuple(_lines(sweeps, "faithfulness")),
        levels=(("whole model", 1.0),),
        note="Bars: 95% intervals over prompts.",
    )
