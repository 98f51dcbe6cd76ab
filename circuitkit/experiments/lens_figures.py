"""The answer over relative depth, in both models."""

from circuitkit.experiments.study_figure import Chart, Series, StudyFigure, Who
from circuitkit.experiments.study_table import StudyTable, number

_WHO: tuple[Who, Who] = ("teacher", "student")


def lens_figures(stages: StudyTable) -> dict[str, StudyFigure]:
    """Logit difference, rank and share of prompts with the answer on top."""
    lines = [_series(stages, who, "logit_diff") for who in _WHO]
    ranks = [_series(stages, who, "rank") for who in _WHO]
    if all(row["other_rank"] is not None for row in stages.rows):
        ranks += [_series(stages, who, "other_rank", f"{who}, another prompt's answer", "null") for who in _WHO]
    return {
        "logit-diff": _chart("Logit difference behind every block", "logit difference, logits", lines),
        "rank": _chart(
            "Rank of the answer behind every block", "rank (1 is the top), geometric mean", ranks, log_y=True
        ),
        "top": _chart(
            "How often the answer is on top", "share of prompts", [_series(stages, who, "top1") for who in _WHO]
        ),
    }


def _chart(title: str, y_title: str, series: list[Series], *, log_y: bool = False) -> Chart:
    return Chart(
        kind="lines",
        title=title,
        x_title="relative depth: 0 the embedding, 1 the last block",
        y_title=y_title,
        series=tuple(series),
        log_y=log_y,
        note="Bars: 95% intervals over prompts." if any(one.low is not None for one in series) else "",
    )


def _series(stages: StudyTable, who: Who, value: str, name: str | None = None, colour: Who | None = None) -> Series:
    rows = [row for row in stages.rows if row["model"] == who]
    ends = [row[f"{value}_ci95"] for row in rows]
    known = all(isinstance(pair, tuple) for pair in ends)
    low, high = ([pair[i] if isinstance(pair, tuple) else None for pair in ends] for i in (0, 1))
    return Series(
        name=name or who,
        x=tuple(number(row["depth"]) for row in rows),
        y=tuple(number(row[value]) for row in rows),
        low=tuple(low) if known else None,
        high=tuple(high) if known else None,
        who=colour or who,
    )
