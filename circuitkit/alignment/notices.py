"""What a reader must see beside the numbers of an alignment."""

from circuitkit.alignment.control import InitialisedControl
from circuitkit.alignment.scores import AlignmentScores
from circuitkit.alignment.similarity.types import Similarity
from circuitkit.discovery.influence import Influence

CHANCE = 0.05


def collect_warnings(
    teacher: Influence,
    student: Influence,
    similarity: Similarity,
    scores: AlignmentScores,
    control: InitialisedControl | None,
) -> tuple[str, ...]:
    """Plain sentences, the gravest first."""
    return (
        *_about_models(teacher, student),
        *_about_scores(scores),
        *([control.notice(scores.score)] if control else []),
        *_about_prompts(teacher, student),
        *similarity.notices,
    )


def _about_models(teacher: Influence, student: Influence) -> list[str]:
    found = [
        warning
        for role, side in (("Teacher", teacher), ("Student", student))
        if (warning := side.baseline.warning(f"{role} {side.model.name}"))
    ]
    if not student.baseline.clear:
        found.append(
            "A student that cannot do the task can still score high: components copied from the teacher keep "
            "their similarity, and normalisation hides that their effect is gone."
        )
    if teacher.model.weights_sha256 == student.model.weights_sha256:
        found.append("Teacher and student have the same weights: a score of 1 is what this must give.")
    for role, side in (("teacher", teacher), ("student", student)):
        if not bool(side.values.any()):
            found.append(f"No component of the {role} has any influence; scores say nothing about it.")
    return found


def _about_scores(scores: AlignmentScores) -> list[str]:
    found: list[str] = []
    for null, what in (
        (scores.shuffle, "with the student's influences shuffled"),
        (scores.random_student, "of students with random weights"),
    ):
        if null is not None and scores.score <= null.mean:
            found.append(
                f"The alignment score A, {scores.score:.3f}, is not above the mean score {what}, {null.mean:.3f}."
            )
    if scores.shuffle is not None and scores.shuffle.p > CHANCE and scores.score > scores.shuffle.mean:
        found.append(
            f"The alignment score A is not clearly above its shuffle null (p = {scores.shuffle.p:.2g}): which "
            "component matters agrees no better than chance."
        )
    return found


def _about_prompts(teacher: Influence, student: Influence) -> list[str]:
    both = [notice for notice in teacher.notices if notice in student.notices]
    alone = [
        f"{role}: {notice}"
        for role, side in (("Teacher", teacher), ("Student", student))
        for notice in side.notices
        if notice not in both
    ]
    return [*both, *alone]
