"""Teacher's and student's circuits side by side: what is said, which matches are numbered, which rows are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circuitkit.reports.alignment_record import Retention
from circuitkit.reports.circuit_record import CircuitRecord
from circuitkit.reports.circuit_study_records import ComparisonRecord, MatchedPair
from circuitkit.reports.circuit_verdict import able, circuit_warnings, left_without, size_in_words, verb_for
from circuitkit.reports.judgement_record import Judgement, Measured
from circuitkit.reports.key_figures import NONE
from circuitkit.reports.numerals import count, fixed, share, with_interval
from circuitkit.reports.verdict import Verdict, short_names

_CAUTION = (
    "Two circuits of like size and faithfulness need not work alike, and matched components need not do the same "
    "work: a match compares activations. Circuits also depend on the method's threshold, which need not mean the "
    "same in both models."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A match whose two components are both in their circuits; those of one student component share a number."""

    number: int
    teacher: str
    student: str
    similarity: float


def matches(record: ComparisonRecord) -> tuple[Match, ...]:
    """Each kept teacher component with its most similar partner, where that partner is in the student's circuit."""
    kept = frozenset(record.circuits.student.nodes)
    numbers: dict[str, int] = {}
    found: list[Match] = []
    for name, pair in _partners(record).items():
        if pair.student in kept:
            number = numbers.setdefault(pair.student, len(numbers) + 1)
            found.append(Match(number=number, teacher=name, student=pair.student, similarity=pair.similarity))
    return tuple(sorted(found, key=lambda match: match.number))


def _partners(record: ComparisonRecord) -> Mapping[str, MatchedPair]:
    best: dict[str, MatchedPair] = {}
    for pair in record.pairs or ():
        if pair.teacher not in best or pair.similarity > best[pair.teacher].similarity:
            best[pair.teacher] = pair
    return {name: best[name] for name in record.circuits.teacher.nodes if name in best}


def badges(found: Sequence[Match], who: str) -> dict[str, int]:
    """Numbers of the matches by component of one of the models."""
    return {match.teacher if who == "teacher" else match.student: match.number for match in found}


def comparison_verdict(record: ComparisonRecord, found: Sequence[Match]) -> Verdict:
    """Headline and supporting sentences for two circuits."""
    teacher, student = short_names(record.teacher.name, record.student.name)
    both = ((teacher, record.circuits.teacher), (student, record.circuits.student))
    unable = [name for name, part in both if not able(part)]
    if unable:
        verb = "can" if len(unable) == 2 else "cannot"
        names = f"Neither {' nor '.join(unable)}" if len(unable) == 2 else unable[0]
        headline = f"{names} {verb} be shown to do {record.task.name}, so the circuits cannot be compared on it."
    else:
        parts = [f"{name} {_briefly(part)}" for name, part in both]
        headline = f"On {record.task.name}, {parts[0]}, and {parts[1]}."
    support = [f"{name}: {size_in_words(part)} {verb_for(part.faithfulness)}." for name, part in both]
    support += _matched(record, found)
    if record.alignment is not None:
        score = record.alignment
        support.append(f"The alignment score of the two models is {with_interval(score.score, score.ci95, 3)}.")
    return Verdict(headline=headline, support=tuple(support), caution=_CAUTION)


def _briefly(part: CircuitRecord) -> str:
    number, what = (len(part.nodes), "component") if part.edges is None else (len(part.edges), "edge")
    plural = "" if number == 1 else "s"
    faithful = None if part.faithfulness is None else part.faithfulness.faithfulness
    kept = "whose faithfulness is not known" if faithful is None else f"with faithfulness {fixed(faithful.mean)}"
    return f"has a circuit of {count(number)} {what}{plural} {kept}"


def _matched(record: ComparisonRecord, found: Sequence[Match]) -> list[str]:
    if record.pairs is None:
        return ["No matching of components was saved, so none are marked as partners."]
    matched, kept = len(_partners(record)), len(record.circuits.teacher.nodes)
    return [
        f"Of the {count(kept)} components in the teacher's circuit, {count(matched)} have a partner in the student; "
        f"for {count(len(found))} of them that partner is in the student's circuit."
    ]


def comparison_warnings(record: ComparisonRecord) -> tuple[str, ...]:
    """The comparison's own warnings, then those of each circuit."""
    both = (("Teacher", record.circuits.teacher), ("Student", record.circuits.student))
    of_parts = [(text, f"{who}: {text}") for who, part in both for text in circuit_warnings(part)]
    return tuple(dict.fromkeys([*record.warnings, *(named for text, named in of_parts if text not in record.warnings)]))


def comparison_rows(record: ComparisonRecord) -> list[tuple[str, str, str]]:
    """Rows of the table that compares sizes and quality: name, teacher, student."""
    teacher, student = record.circuits.teacher, record.circuits.student
    robust = (None, None) if record.robustness is None else (record.robustness.teacher, record.robustness.student)
    left, right = _column(teacher, robust[0]), _column(student, robust[1])
    names = dict.fromkeys([*left, *right])
    rows = [(name, left.get(name, NONE), right.get(name, NONE)) for name in names]
    return [row for row in rows if row[1:] != (NONE, NONE)]


def _column(part: CircuitRecord, robust: Retention | None) -> dict[str, str]:
    return {
        "method": part.method,
        "components kept": _of(len(part.nodes), part.n_possible.nodes),
        "edges kept": NONE if part.edges is None else _of(len(part.edges), part.n_possible.edges),
        **({} if part.faithfulness is None else _quality(part.faithfulness)),
        "mean drop of single components, %": _drop(robust),
        "components with a drop over 10%": _share(None if robust is None else robust.over_10),
        "prompts": count(part.task.n_prompts),
    }


def _quality(judged: Judgement) -> dict[str, str]:
    gap = judged.completeness
    return {
        "logit difference, whole model": _number(judged.model_logit_diff, 2),
        "logit difference, circuit alone": _number(judged.circuit_logit_diff, 2),
        "logit difference, the rest": _number(judged.complement_logit_diff, 2),
        "faithfulness": _number(judged.faithfulness, 3),
        "share left without the circuit": _number(left_without(judged), 3),
        "completeness gap, logits": NONE if gap is None else fixed(gap.mean_difference, 3),
        "KL from the model, nats": _number(judged.kl, 3),
        "accuracy of the circuit": _share(judged.accuracy.circuit),
    }


def _of(kept: int, possible: int | None) -> str:
    return count(kept) if possible is None else f"{count(kept)} of {count(possible)}"


def _number(value: Measured | None, digits: int) -> str:
    return NONE if value is None else with_interval(value.mean, value.ci95, digits)


def _share(value: float | None) -> str:
    return NONE if value is None else share(value)


def _drop(part: Retention | None) -> str:
    return NONE if part is None else with_interval(part.mean_drop, part.ci95, 1)
