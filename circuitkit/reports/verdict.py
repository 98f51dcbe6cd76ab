"""The plain sentences at the head of a report, computed from the numbers and never going beyond them."""

from collections.abc import Sequence
from dataclasses import dataclass

from circuitkit.reports.alignment_record import AlignmentRecord, Score
from circuitkit.reports.numerals import fixed, interval, p_value, with_interval
from circuitkit.reports.records import Estimate, InfluenceRecord

CAUTION = (
    "A alone cannot tell a broken copy from a good one: components copied from the teacher stay similar "
    "even where they no longer do the work. Read it beside the two logit differences, the null and the "
    "controls below."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a result says.

    Attributes:
        headline: The answer in one sentence.
        support: Sentences with the numbers behind it.
        caution: What the score cannot tell.
    """

    headline: str
    support: tuple[str, ...]
    caution: str


def short_names(*names: str) -> tuple[str, ...]:
    """Last parts of paths and hub ids, or the names as they are where the last parts would be the same."""
    short = tuple(name.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1] or name for name in names)
    return short if len(set(short)) == len(set(names)) else names


def teacher_able(record: AlignmentRecord) -> bool:
    """Whether the teacher's logit difference is clearly above zero: only then are its drops given in percent."""
    return record.robustness.teacher is not None


def student_able(record: AlignmentRecord) -> bool:
    """The same of the student."""
    return record.robustness.student is not None


def both_able(record: AlignmentRecord) -> bool:
    """Whether both models do the task."""
    return teacher_able(record) and student_able(record)


def _clearly_positive(logit_diff: Estimate) -> bool:
    """Whether the whole interval, or the mean where there is none, is above zero."""
    return (logit_diff.ci95[0] if logit_diff.ci95 else logit_diff.mean) > 0


def alignment_verdict(record: AlignmentRecord) -> Verdict:
    """Headline and supporting sentences for one alignment result."""
    return Verdict(
        headline=_headline(record),
        support=(
            _ability(record),
            _score(record.alignment),
            *_null(record.alignment),
            *_before(record),
            *_fingerprint(record),
        ),
        caution=CAUTION,
    )


def _headline(record: AlignmentRecord) -> str:
    (teacher, student), task = short_names(record.teacher.name, record.student.name), record.task.name
    score = fixed(record.alignment.score)
    unable = [name for name, able in ((teacher, teacher_able(record)), (student, student_able(record))) if not able]
    if len(unable) == 2:
        return (
            f"Neither {teacher} nor {student} can be shown to do {task}, so their alignment of {score} is "
            "no evidence of a shared mechanism."
        )
    if unable:
        return (
            f"{unable[0]} cannot be shown to do {task}, so its alignment of {score} is no evidence of a "
            "shared mechanism."
        )
    beside = _against_null(record.alignment)
    before = record.controls.initialised_only
    if before is not None and before.score >= record.alignment.score:
        beside = f", and no less before it was distilled ({fixed(before.score)})"
    return f"On {task}, {student} scores {score} of 1 in alignment with {teacher}{beside}."


def _against_null(score: Score) -> str:
    null = score.null
    if null is None or (null.shuffle is None and null.random_student is None):
        return ", with no null to compare it with"
    if null.shuffle is not None:
        if null.shuffle.p >= 0.05:
            return f", no more than shuffled influences give ({fixed(null.shuffle.mean)})"
        return f", more than shuffled influences give ({fixed(null.shuffle.mean)})"
    random = null.random_student
    assert random is not None
    if (score.ci95[0] if score.ci95 else score.score) <= max(random.scores, default=random.mean):
        return f", not clearly more than students with random weights score ({fixed(random.mean)})"
    return f", more than students with random weights score ({fixed(random.mean)})"


def _ability(record: AlignmentRecord) -> str:
    t, s = record.teacher_logit_diff, record.student_logit_diff
    values = (
        f"teacher {with_interval(t.mean, t.ci95)}, student {with_interval(s.mean, s.ci95)} logits in "
        "favour of the correct answer"
    )
    if both_able(record):
        return f"Both models do the task: {values}."
    if teacher_able(record):
        return f"The teacher does the task, the student cannot be shown to: {values}."
    if student_able(record):
        return f"The student does the task, the teacher cannot be shown to: {values}."
    return f"Neither model can be shown to do the task: {values}."


def _score(score: Score) -> str:
    text = f"The alignment score A is {with_interval(score.score, score.ci95, 3)}"
    if score.circuit_alignment is None:
        return f"{text}."
    return f"{text}; weighted by the teacher's influence it is {fixed(score.circuit_alignment, 3)}."


def _before(record: AlignmentRecord) -> tuple[str, ...]:
    before = record.controls.initialised_only
    if before is None:
        return ()
    reading = (
        "the score is explained by what was copied and says nothing about distillation"
        if before.score >= record.alignment.score
        else "only the part above it can be owed to distillation"
    )
    return (
        f"Before distillation, with the teacher's layers copied and nothing learned, the student scores "
        f"{fixed(before.score, 3)} at a logit difference of {fixed(before.logit_diff.mean)}: {reading}.",
    )


def _fingerprint(record: AlignmentRecord) -> tuple[str, ...]:
    found = record.fingerprint
    if found is None:
        return ()
    null = found.nulls.get("shuffled")
    beside = "" if null is None else f"; with the student's fingerprints shuffled {fixed(null.mean, 3)}"
    return (
        f"The fingerprint score F, which compares what components do to the answer, is "
        f"{with_interval(found.F.score, found.F.ci95, 3)}; the teacher against itself on other prompts "
        f"{fixed(found.ceiling.score, 3)}{beside}.",
    )


def _null(score: Score) -> tuple[str, ...]:
    null = score.null
    if null is None:
        return ()
    sentences: list[str] = []
    if (shuffle := null.shuffle) is not None:
        sentences.append(
            f"With the student's influences shuffled A is {fixed(shuffle.mean, 3)} on average "
            f"(sd {fixed(shuffle.sd, 3)}, {shuffle.n} shuffles, {p_value(shuffle.p)})."
        )
    if (random := null.random_student) is not None:
        sentences.append(
            f"{len(random.scores)} students of the same shape with random weights score "
            f"{fixed(random.mean, 3)} on average."
        )
    if score.calibrated is not None:
        sentences.append(f"On the scale where the null is 0 and identity is 1, A* is {fixed(score.calibrated, 3)}.")
    return tuple(sentences)


def influence_verdict(record: InfluenceRecord) -> Verdict:
    """Headline and supporting sentences for the influences of one model."""
    (model,), task, diff = short_names(record.model.name), record.task.name, record.logit_diff
    ranked = sorted(record.influence.items(), key=lambda item: -item[1].influence)
    (best, effect), clear = ranked[0], _clearly_positive(diff)
    headline = (
        f"On {task}, {best} of {model} matters most: without it the logit difference falls by "
        f"{fixed(effect.drop)} of {fixed(diff.mean)}."
        if clear and effect.drop > 0
        else f"{model} cannot be shown to do {task}, so its influences describe noise or another task."
        if not clear
        else f"On {task}, no single component of {model} carries the answer alone."
    )
    above = sum(effect.drop_ci95 is not None and effect.drop_ci95[0] > 0 for effect in record.influence.values())
    support = [
        f"Its logit difference is {with_interval(diff.mean, diff.ci95)} logits over {record.task.n_prompts} prompts."
    ]
    if any(effect.drop_ci95 is not None for effect in record.influence.values()):
        support.append(f"The drop of {above} of {len(record.influence)} components has a 95% interval above 0.")
    if effect.ci95 is not None:
        support.append(f"The influence of {best} lies in {interval(effect.ci95)}.")
    return Verdict(
        headline=headline,
        support=tuple(support),
        caution="Influence says that a component matters for the answer, not what it computes.",
    )


def table_verdict(records: Sequence[AlignmentRecord]) -> Verdict:
    """Headline and supporting sentences for one pair of models on several tasks."""
    teacher, student = short_names(records[0].teacher.name, records[0].student.name)
    able = [r for r in records if both_able(r)]
    unable = [r.task.name for r in records if r not in able]
    if not able:
        headline = f"There is no task of the {len(records)} that both {teacher} and {student} can be shown to do."
    else:
        scores = sorted(r.alignment.score for r in able)
        span = f"{fixed(scores[0])} to {fixed(scores[-1])}" if len(scores) > 1 else fixed(scores[0])
        tasks = "task" if len(able) == 1 else "tasks"
        headline = (
            f"On the {len(able)} {tasks} that both models do, {student} scores {span} of 1 in alignment with {teacher}."
        )
    support: list[str] = []
    shuffles = [r.alignment.null.shuffle for r in able if r.alignment.null and r.alignment.null.shuffle]
    if shuffles:
        above = sum(null.p < 0.05 for null in shuffles)
        support.append(
            f"The score is above that of shuffled influences (p below 0.05, each task by itself) on {above} of "
            f"{len(shuffles)} of them."
        )
    if unable:
        support.append(
            f"Teacher or student cannot be shown to do {', '.join(unable)}: scores there are no evidence of a "
            "shared mechanism."
        )
    support.append("The table compares the tasks; a section for each follows.")
    return Verdict(headline=headline, support=tuple(support), caution=CAUTION)
