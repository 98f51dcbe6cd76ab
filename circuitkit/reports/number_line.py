"""The score on a line from 0 to 1 with its interval and its nulls: where the marks of the drawing go."""

from dataclasses import dataclass

from circuitkit.reports.alignment_record import Score
from circuitkit.reports.numerals import fixed, with_interval

WIDTH, LEFT, RIGHT = 480.0, 14.0, 466.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberLine:
    """Horizontal positions of every mark, in the drawing's units.

    Attributes:
        score: The score A.
        span: Ends of its interval, or None.
        shuffle: Mean of the shuffle null, or None.
        shuffle_span: One standard deviation to either side of it.
        randoms: Scores of the random students.
        random_mean: Their mean, or None.
        initial: Score of the student before distillation, or None.
        ticks: Positions and labels of the axis.
        label: The drawing in words.
    """

    score: float
    span: tuple[float, float] | None
    shuffle: float | None
    shuffle_span: tuple[float, float] | None
    randoms: tuple[float, ...]
    random_mean: float | None
    initial: float | None
    ticks: tuple[tuple[float, str], ...]
    label: str


def number_line(score: Score, *, initial: float | None = None) -> NumberLine:
    """Lay out one score.

    Args:
        score: The score and its nulls.
        initial: Score of the student before distillation, if it was measured.
    """
    shuffle = score.null.shuffle if score.null else None
    random = score.null.random_student if score.null else None
    values = [
        score.score,
        *(score.ci95 or ()),
        *([shuffle.mean - shuffle.sd] if shuffle else []),
        *(random.scores if random else ()),
        *([] if initial is None else [initial]),
    ]
    low = 0.0 if min(values) >= 0 else -1.0

    def at(value: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (min(1.0, value) - low) / (1 - low), 1)

    steps = [0.0, 0.25, 0.5, 0.75, 1.0] if low == 0 else [-1.0, -0.5, 0.0, 0.5, 1.0]
    return NumberLine(
        score=at(score.score),
        span=(at(score.ci95[0]), at(score.ci95[1])) if score.ci95 else None,
        shuffle=at(shuffle.mean) if shuffle else None,
        shuffle_span=(at(shuffle.mean - shuffle.sd), at(shuffle.mean + shuffle.sd)) if shuffle else None,
        randoms=tuple(at(value) for value in random.scores) if random else (),
        random_mean=at(random.mean) if random else None,
        initial=None if initial is None else at(initial),
        ticks=tuple((at(step), fixed(step, 2 if step % 0.5 else 1).removesuffix(".0")) for step in steps),
        label=_describe(score, initial),
    )


def _describe(score: Score, initial: float | None) -> str:
    parts = [f"Alignment A {with_interval(score.score, score.ci95)} on a line that ends at 1"]
    if score.null and score.null.shuffle:
        parts.append(f"shuffled influences {fixed(score.null.shuffle.mean)}")
    if score.null and score.null.random_student:
        parts.append(f"random students {fixed(score.null.random_student.mean)} on average")
    if initial is not None:
        parts.append(f"the student before distillation {fixed(initial)}")
    return "; ".join(parts) + "."
