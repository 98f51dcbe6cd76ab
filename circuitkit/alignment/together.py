"""What the scores A (alignment) and F (fingerprints) say together, in one sentence that goes no further than they."""

from collections.abc import Mapping
from typing import Literal

from circuitkit.alignment.fingerprint_notices import CHANCE, UNSTEADY
from circuitkit.alignment.fingerprint_result import FingerprintNull, FingerprintScore
from circuitkit.alignment.scores import AlignmentScores

AlignmentGrade = Literal["above", "copied", "chance", "unjudged"]
FingerprintGrade = Literal["ceiling", "part", "minor", "chance", "unsteady", "unjudged"]
HALF = 0.5

_ALIGNMENT: dict[AlignmentGrade, str] = {
    "above": "A is above its null",
    "copied": "A is no higher than before distillation, when layers were copied and nothing was learned",
    "chance": "A is not clearly above its null",
    "unjudged": "A has no null here to be held against",
}
_FINGERPRINT: dict[FingerprintGrade, str] = {
    "ceiling": "F is as high as the teacher scores against itself on other prompts",
    "part": "F is above its null and below its ceiling",
    "minor": "F is above its null, but less than half of what the components do to the answer is shared",
    "chance": "F is not clearly above its null",
    "unsteady": "the teacher's own fingerprints repeat poorly from one half of the prompts to the other",
    "unjudged": "F has no null here to be held against",
}
_LOOKS: dict[AlignmentGrade, str] = {
    "above": "the activations of matched components are alike too",
    "copied": "how alike the activations are may be owed to the copied layers alone",
    "chance": "the activations show no more likeness than chance, so it may be the same work in another form",
    "unjudged": "whether the activations are alike beyond chance is open",
}
_BROKEN = (
    "matched components look alike without being shown to do the same to the answer, as in a copy that lost its "
    "effect or a student that does the task in another way"
)


def reading(
    scores: AlignmentScores,
    before: float | None,
    fingerprint: Mapping[str, FingerprintScore],
    nulls: Mapping[str, FingerprintNull],
    *,
    able: bool,
) -> str:
    """One sentence on what A and F mean beside each other.

    A and F are shares of different things, and their difference as a number means nothing; each is held against its
    own null and control (A) or null and ceiling (F).

    Args:
        scores: A with its nulls.
        before: A of the student before distillation; None if it was not measured.
        fingerprint: F and its ceiling, by name.
        nulls: The nulls of F, by kind.
        able: Whether both models' logit differences are clearly above zero.
    """
    if not able:
        return (
            "One of the models cannot be shown to do the task, so neither A nor F is evidence of a shared way of "
            "doing it."
        )
    return sentence(grade_alignment(scores, before), grade_fingerprint(fingerprint, nulls))


def grade_alignment(scores: AlignmentScores, before: float | None) -> AlignmentGrade:
    """Where A stands: against shuffled influences, else against random students, and against the untrained copy."""
    if scores.shuffle is not None:
        above = scores.shuffle.p < CHANCE
    elif scores.random_student is not None:
        above = (scores.ci95[0] if scores.ci95 else scores.score) > max(scores.random_student.scores)
    else:
        above = None
    if above is False:
        return "chance"
    if before is not None and before >= scores.score:
        return "copied"
    return "unjudged" if above is None else "above"


def grade_fingerprint(scores: Mapping[str, FingerprintScore], nulls: Mapping[str, FingerprintNull]) -> FingerprintGrade:
    """Where F stands: against its null, one half, and the ceiling; by the ends of intervals where there are any."""
    F, ceiling, null = scores["F"], scores["ceiling"], nulls.get("shuffled")
    if null is None:
        return "unjudged"
    if null.p >= CHANCE:
        return "chance"
    if F.score >= (ceiling.ci95[0] if ceiling.ci95 else ceiling.score):
        return "ceiling" if ceiling.score >= UNSTEADY else "unsteady"
    return "minor" if (F.ci95[1] if F.ci95 else F.score) < HALF else "part"


def sentence(a: AlignmentGrade, f: FingerprintGrade) -> str:
    """Both findings, and what follows from them together."""
    return f"{_capital(_FINGERPRINT[f])}, and {_ALIGNMENT[a]}: {_conclusion(a, f)}."


def _conclusion(a: AlignmentGrade, f: FingerprintGrade) -> str:
    if f == "ceiling":
        return (
            "as far as these prompts tell, the student's components do to the answer what the teacher's do; "
            f"{_LOOKS[a]}"
        )
    if f == "part":
        return (
            "part of what the components do to the answer is common to both models, and part is not, by difference or "
            f"by chance; {_LOOKS[a]}"
        )
    if f == "unsteady":
        return "more prompts are needed before F can say how much is shared"
    if f == "unjudged":
        return "without one, little follows from how high it is"
    if a == "chance":
        return "little or nothing here shows the teacher's way of doing the task in the student"
    return _BROKEN if a == "above" else f"{_LOOKS[a]}, and F does not show that they do the same to the answer"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
