"""The logit lens on teacher and student: when does the answer appear? (App. J of Distilled Circuits)."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval
from circuitkit.core.progress import Progress, silent
from circuitkit.core.utf8 import shown_token
from circuitkit.experiments.lens_figures import lens_figures
from circuitkit.experiments.make_study import make_study
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.experiments.study_table import Cell, Column, StudyTable, number
from circuitkit.probes.logit_lens import LogitLens, logit_lens

SOURCE = "Distilled Circuits (Haskins & Adams 2026), App. J; logit lens: nostalgebraist 2020"
_PROMPTS_AT_A_TIME = 32
_HALF = 0.5


def lens_study(pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress = silent) -> Study:
    """Logit difference and rank of the answer behind every block of both models.

    Args:
        pairs: The pair, alone.
        options: Nothing is taken from it.
        progress: Called as prompts are run.
    """
    (pair,) = pairs
    lenses = {who: _lens(pair, side, progress) for side, who in enumerate(("teacher", "student"))}
    stages = _stages_table(lenses, pair.teacher.weights())
    arrivals = _arrivals_table(stages)
    return make_study(
        pairs,
        name="logit-lens",
        title="When the answer appears: the logit lens",
        source=SOURCE,
        findings=_findings(stages, arrivals),
        caution=(
            "The final norm and the head were trained on the last stream only: an answer that they do not show behind "
            "an earlier block may be there in another form. Equal relative depth does not mean equal work."
        ),
        tables={"arrivals": arrivals, "stages": stages},
        figures=lens_figures(stages),
        settings=pair.settings.to_dict(),
        notices=(*_notices(pair, lenses), *pair.plain_warnings),
    )


def _lens(pair: PairMeasurements, side: int, progress: Progress) -> LogitLens:
    who, model = (("teacher", pair.teacher_model), ("student", pair.student_model))[side]
    size = _PROMPTS_AT_A_TIME if pair.batch_size == "auto" else pair.batch_size

    def told(stage: str, done: int, total: int) -> None:
        progress(f"{who} {stage}", done, total)

    return logit_lens(model, pair.batches[side], batch_size=size, progress=told)


def _notices(pair: PairMeasurements, lenses: Mapping[str, LogitLens]) -> tuple[str, ...]:
    models = {"teacher": pair.teacher_model, "student": pair.student_model}
    return tuple(
        f"The {who} {models[who].info.name!r} is post-LN: every block's stream has passed a norm, so that it is no sum "
        "of what the blocks write, and its head (a dense layer, an activation and a norm before the unembedding) is "
        "not linear. Its lens shows what the head makes of these streams, not what the blocks add."
        for who, lens in lenses.items()
        if not lens.additive
    )


def _stages_table(lenses: Mapping[str, LogitLens], weights: BootstrapWeights | None) -> StudyTable:
    rows: list[dict[str, Cell]] = []
    for who, lens in lenses.items():
        for i, stage in enumerate(lens.stages):
            rank, text = lens.rank[i].double(), lens.top_words[i][0]
            log_rank = (rank + 1).log()
            other = None if lens.other_rank is None else (lens.other_rank[i].double() + 1).log()
            rows.append(
                {
                    "model": who,
                    "stage": stage,
                    "depth": i / (len(lens.stages) - 1),
                    "logit_diff": float(lens.logit_diff[i].double().mean()),
                    "logit_diff_ci95": _ends(lens.logit_diff[i], weights),
                    "rank": float(log_rank.mean().exp()),
                    "rank_ci95": _exp(_ends(log_rank, weights)),
                    "other_rank": None if other is None else float(other.mean().exp()),
                    "other_rank_ci95": None if other is None else _exp(_ends(other, weights)),
                    "median_rank": int(lens.rank[i].median()) + 1,
                    "top1": float((rank == 0).double().mean()),
                    "top1_ci95": _ends((rank == 0).double(), weights),
                    "word": shown_token(text[0]),
                    "word_share": text[1] / len(rank),
                }
            )
    return StudyTable(
        title="Behind every block",
        columns=(
            Column(name="model", title="model", kind="text"),
            Column(name="stage", title="stage", kind="text"),
            Column(name="depth", title="relative depth", digits=2),
            Column(name="logit_diff", title="logit difference", unit="logits"),
            Column(name="logit_diff_ci95", title="95%", kind="interval"),
            Column(name="rank", title="rank of the answer", digits=1),
            Column(name="rank_ci95", title="95%", kind="interval", digits=1),
            Column(name="other_rank", title="of another prompt's answer", digits=1),
            Column(name="other_rank_ci95", title="95%", kind="interval", digits=1),
            Column(name="median_rank", title="median rank", kind="count"),
            Column(name="top1", title="answer on top"),
            Column(name="top1_ci95", title="95%", kind="interval"),
            Column(name="word", title="commonest token on top", kind="text"),
            Column(name="word_share", title="in this share of prompts", digits=2),
        ),
        rows=tuple(rows),
        note="The stream at the answer position through the final norm and the head; embed is the stream before the "
        "first block, depth 1 the model itself. Rank: geometric mean over prompts, 1 is the top of the vocabulary. "
        "Another prompt's answer: how high answers of the task stand whatever the prompt. Intervals resample prompts.",
    )


def _ends(values: Float[Tensor, " prompt"], weights: BootstrapWeights | None) -> tuple[float, float] | None:
    if weights is None:
        return None
    low, high = percentile_interval(weights.means(values))
    return float(low), float(high)


def _exp(ends: tuple[float, float] | None) -> tuple[float, float] | None:
    if ends is None:
        return None
    low, high = torch.tensor(ends, dtype=torch.float64).exp().tolist()
    return low, high


def _arrivals_table(stages: StudyTable) -> StudyTable:
    rows: list[dict[str, Cell]] = []
    for who in ("teacher", "student"):
        own = [row for row in stages.rows if row["model"] == who]
        final = number(own[-1]["logit_diff"])
        clear = _from([isinstance(ends := row["logit_diff_ci95"], tuple) and ends[0] > 0 for row in own])
        half = _from([number(row["logit_diff"]) >= _HALF * final for row in own]) if final > 0 else None
        ahead = _from([_ahead(row) for row in own])
        row: dict[str, Cell] = {"model": who, "final": final, "final_ci95": own[-1]["logit_diff_ci95"]}
        for name, at in (("clear", clear), ("half", half), ("ahead", ahead)):
            row |= {
                name: None if at is None else own[at]["stage"],
                f"{name}_depth": None if at is None else own[at]["depth"],
            }
        rows.append(row)
    return StudyTable(
        title="From where on the answer shows",
        columns=(
            Column(name="model", title="model", kind="text"),
            Column(name="final", title="logit difference of the model", unit="logits"),
            Column(name="final_ci95", title="95%", kind="interval"),
            Column(name="clear", title="clearly above 0 from", kind="text"),
            Column(name="clear_depth", title="relative depth", digits=2),
            Column(name="half", title="half of the final one from", kind="text"),
            Column(name="half_depth", title="relative depth", digits=2),
            Column(name="ahead", title="rank clearly ahead of another prompt's answer from", kind="text"),
            Column(name="ahead_depth", title="relative depth", digits=2),
        ),
        rows=tuple(rows),
        note="The first stage from which on it holds to the end. Clearly: by 95% intervals over prompts; for ranks "
        "the two intervals do not meet. Nothing stands where it does not hold at the end, or there are no intervals.",
    )


def _from(holds: Sequence[bool]) -> int | None:
    """First place from which on it holds to the end."""
    if not holds[-1]:
        return None
    return max((i + 1 for i, held in enumerate(holds) if not held), default=0)


def _ahead(row: Mapping[str, Cell]) -> bool:
    own, other = row["rank_ci95"], row["other_rank_ci95"]
    return isinstance(own, tuple) and isinstance(other, tuple) and own[1] < other[0]


def _findings(stages: StudyTable, arrivals: StudyTable) -> tuple[str, ...]:
    out: list[str] = []
    for row in arrivals.rows:
        who = f"In the {row['model']} the logit difference ends at {number(row['final']):.2f}"
        if row["clear"] is None:
            out.append(f"{who}{', not clearly above 0' if row['final_ci95'] is not None else ''}.")
            continue
        said = f"{who}; it is clearly above 0 from {row['clear']} on (depth {number(row['clear_depth']):.2f})"
        if row["half"] is not None:
            said += f" and at least half of that from {row['half']} on ({number(row['half_depth']):.2f})"
        out.append(f"{said}.")
    for who in ("teacher", "student"):
        own = [row for row in stages.rows if row["model"] == who]
        first, last = own[0], own[-1]
        beside = "" if last["other_rank"] is None else f", that of another prompt {number(last['other_rank']):.1f}"
        out.append(
            f"The answer's rank in the {who} goes from {number(first['rank']):.1f} in the embedding to "
            f"{number(last['rank']):.1f} at the end{beside}."
        )
    return tuple(out)
