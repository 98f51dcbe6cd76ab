"""Laws that a score of circuits must keep, and whether it does: pure functions of scores that were measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import mannwhitneyu, page_trend_test

from circuitkit.experiments.battery.scores import Measured, ScoreKind
from circuitkit.experiments.battery.student import NOISE_LEVELS, Law, student_spec

TOLERANCE = 1e-4
MOST_NULL = 0.1
SOLVES = 0.9
GUESSES = 0.6
NOISE_ORDER = ("distilled", *(f"noise-{level:g}" for level in NOISE_LEVELS))
BROKEN_ORDER = (NOISE_ORDER[-1], "initialised", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was measured of one student on one task.

    Attributes:
        key: Which student.
        seed: Its seed.
        agrees: Share of prompts whose cue agrees with the answer that it gets right.
        broken: Share of prompts whose cue points elsewhere that it gets right.
        logit_diff: Mean logit difference where the cue agrees, in logits.
        scores: Every score by name.
    """

    key: str
    seed: int
    agrees: float
    broken: float
    logit_diff: float
    scores: Mapping[str, Measured]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether one score keeps one law on one task of one family.

    Attributes:
        law: Name of the law.
        passed: Whether it does; None where the students at hand cannot tell.
        figure: What it rests on; see `LAWS`.
        p: Of a rank test over seeds; None where there is none.
        note: What failed or could not be tried, in words.
    """

    law: str
    passed: bool | None
    figure: float | None = None
    p: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LawKind:
    """A law.

    Attributes:
        title: What it asks, in a line.
        figure: What its figure is.
        judge: Tries it.
    """

    title: str
    figure: str
    judge: Callable[[ScoreKind, str, Sequence[Outcome]], Verdict]


def judge_laws(score: ScoreKind, task: str, outcomes: Sequence[Outcome]) -> dict[str, Verdict]:
    """Try every law on the students of one family on one task; several seeds of a student are tried together.

    Args:
        score: The score.
        task: The task's name.
        outcomes: What was measured; those that lack the score take no part.
    """
    known = [outcome for outcome in outcomes if score.key in outcome.scores]
    return {name: law.judge(score, task, known) for name, law in LAWS.items()}


def _near(score: ScoreKind, outcome: Outcome) -> float:
    """The score, turned so that more is closer."""
    value = outcome.scores[score.key].score
    return -value if score.lower_is_closer else value


def _ends(score: ScoreKind, outcome: Outcome) -> tuple[float, float]:
    """Its interval, turned so; the score itself where there is none."""
    measured = outcome.scores[score.key]
    low, high = measured.ci95 or (measured.score, measured.score)
    return (-high, -low) if score.lower_is_closer else (low, high)


def _of(outcomes: Iterable[Outcome], *keys: str) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.key in keys]


def _missing(law: str, what: str) -> Verdict:
    return Verdict(law=law, passed=None, note=f"not tried: {what}")


def _invariant(score: ScoreKind, task: str, outcomes: Sequence[Outcome]) -> Verdict:
    same = [o for o in outcomes if student_spec(o.key).law is Law.INVARIANT and o.key != "identity"]
    whole = _of(outcomes, "identity")
    if not same or not whole:
        return _missing("invariance", "no student in another basis")
    base = whole[0].scores[score.key].score
    worst = max(same, key=lambda o: abs(o.scores[score.key].score - base))
    off = abs(worst.scores[score.key].score - base)
    broken = dict.fromkeys(o.key for o in same if abs(o.scores[score.key].score - base) > TOLERANCE)
    return Verdict(law="invariance", passed=off <= TOLERANCE, figure=off, note=", ".join(broken))


def _ceiling(score: ScoreKind, task: str, outcomes: Sequence[Outcome]) -> Verdict:
    whole = _of(outcomes, "identity")
    if not whole:
        return _missing("ceiling", "no identity")
    off = max(abs(o.scores[score.key].score - score.best) for o in whole)
    above = dict.fromkeys(o.key for o in outcomes if _near(score, o) > _near(score, whole[0]) + TOLERANCE)
    note = f"above the teacher itself: {', '.join(above)}" if above else ""
    return Verdict(law="ceiling", passed=off <= TOLERANCE and not above, figure=off, note=note)


def _null(score: ScoreKind, task: str, outcomes: Sequence[Outcome]) -> Verdict:
    random = _of(outcomes, "random")
    if score.null is None or not random:
        return _missing("null", "no random student" if score.null is not None else "it has no fixed null")
    worst = max((o.scores[score.key].score for o in random), key=lambda value: abs(value - (score.null or 0.0)))
    return Verdict(law="null", passed=abs(worst - score.null) <= MOST_NULL, figure=worst)


def _noise(score: ScoreKind, task: str, outcomes: Sequence[Outcome]) -> Verdict:
    return _falls("noise", NOISE_ORDER, score, outcomes)


def _broken(score: ScoreKind, task: str, outcomes: Sequence[Outcome]) -> Verdict:
    return _falls("broken copies", BROKEN_ORDER, score, outcomes)


def _falls(law: str, order: Sequence[str], score: ScoreKind, outcomes: Sequence[Outcome]) -> Verdict:
    """Whether the score falls at every step of an order in every seed."""
    by_seed: dict[int, dict[str, Outcome]] = {}
    for outcome in _of(outcomes, *order):
        by_seed.setdefault(outcome.seed, {})[outcome.key] = outcome
    chains = [[seed[key] for key in order] for seed in by_seed.values() if len(seed) == len(order)]
    if not chains:
        return _missing(law, f"not all of {', '.join(order)} are there")
    near = [[_near(score, o) for o in chain] for chain in chains]
    wrong = [
        f"{chain[i + 1].key} over {chain[i].key}"
        for chain, values in zip(chains, near, strict=True)
        for i in range(len(order) - 1)
        if values[i + 1] >= values[i]
    ]
    taus = [_tau(values) for values in near]
    p = float(page_trend_test(near, predicted_ranks=list(range(len(order), 0, -1))).pvalue) if len(near) > 1 else None
    note = "; ".join(f"{step} ({wrong.count(step)} of {len(chains)})" for step in dict.fromkeys(wrong))
    return Verdict(law=law, passed=not wrong, figure=sum(taus) / len(taus), p=p, note=note)


def _tau(values: Sequence[float]) -> float:
    """Kendall's tau-a of a chain that should fall: steps up against steps down, over all pairs."""
    pairs = [(values[i], values[j]) for i in range(len(values)) for j in range(i + 1, len(values))]
    return sum((first > second) - (first < second) for first, second in pairs) / len(pairs)


def _shortcut(score: ScoreKind, task: str, outcomes: Sequence[Outcome]) -> Verdict:
    taught = [o for o in outcomes if student_spec(o.key).law_on(task) is Law.SHORTCUT]
    shortcuts = [o for o in taught if o.agrees >= SOLVES and o.broken <= GUESSES]
    others = [o for o in outcomes if student_spec(o.key).law_on(task) in (Law.HONEST, Law.SURGERY)]
    honest = [o for o in others if o.agrees >= SOLVES and o.broken >= SOLVES]
    out = sorted({o.key for o in (*taught, *others)} - {o.key for o in (*shortcuts, *honest)})
    left = f"not as they should be, left out: {', '.join(out)}" if out else ""
    if not shortcuts or not honest:
        return _missing("shortcut", left or "no shortcut student, or no honest one")
    top = max(shortcuts, key=lambda o: _ends(score, o)[1])
    bottom = min(honest, key=lambda o: _ends(score, o)[0])
    gap = _ends(score, bottom)[0] - _ends(score, top)[1]
    several = len(shortcuts) > 1 and len(honest) > 1
    sides = [[_near(score, o) for o in some] for some in (honest, shortcuts)]
    p = float(mannwhitneyu(sides[0], sides[1], alternative="greater").pvalue) if several else None
    note = f"{bottom.key} {bottom.scores[score.key].score:.3f}, {top.key} {top.scores[score.key].score:.3f}"
    return Verdict(law="shortcut", passed=gap > 0, figure=gap, p=p, note="; ".join(filter(None, (note, left))))


def _surgery(score: ScoreKind, task: str, outcomes: Sequence[Outcome]) -> Verdict:
    changed, whole = _of(outcomes, "ablated-healed", "merged-healed"), _of(outcomes, "identity")
    if not changed or not whole:
        return _missing("surgery", "no student whose heads were changed")
    gap = min(_near(score, whole[0]) - _near(score, o) for o in changed)
    return Verdict(law="surgery", passed=gap > TOLERANCE, figure=gap)


LAWS: Mapping[str, LawKind] = {
    "invariance": LawKind(
        title="the teacher in another basis scores as the teacher itself, to 1e-4",
        figure="largest difference",
        judge=_invariant,
    ),
    "ceiling": LawKind(
        title="the teacher itself gets the best score, to 1e-4, and nobody more",
        figure="difference from the best score",
        judge=_ceiling,
    ),
    "null": LawKind(title="random weights score within .1 of nothing", figure="score of random weights", judge=_null),
    "noise": LawKind(
        title="the more weight noise on the distilled student, the lower, in every seed",
        figure="mean Kendall tau over seeds",
        judge=_noise,
    ),
    "broken copies": LawKind(
        title="distilled with most noise above copied and never distilled above random, in every seed",
        figure="mean Kendall tau over seeds",
        judge=_broken,
    ),
    "shortcut": LawKind(
        title="every shortcut below every honest solver, intervals apart",
        figure="lowest honest bound minus highest shortcut bound",
        judge=_shortcut,
    ),
    "surgery": LawKind(
        title="a teacher that lost or merged a head, healed, is below the teacher itself",
        figure="smallest distance",
        judge=_surgery,
    ),
}
"""Every law by name; rank tests over seeds: Page's trend test of orders, Mann-Whitney's of shortcuts."""
