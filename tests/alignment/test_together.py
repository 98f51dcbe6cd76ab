"""What A and F mean beside each other, on constructed scores."""

import itertools

import pytest

from circuitkit.alignment.fingerprint_result import FingerprintNull, FingerprintScore
from circuitkit.alignment.nulls import RandomStudentNull, ShuffleNull
from circuitkit.alignment.scores import AlignmentScores
from circuitkit.alignment.together import (
    _ALIGNMENT,
    _FINGERPRINT,
    grade_alignment,
    grade_fingerprint,
    reading,
    sentence,
)


def prints(F, ci=None, *, ceiling=0.9, ceiling_ci=None, p: float | None = 0.005):
    nulls = {} if p is None else {"shuffled": FingerprintNull(mean=0.2, ci95=(0.1, 0.3), p=p, n=200)}
    return ({"F": FingerprintScore(score=F, ci95=ci), "ceiling": FingerprintScore(score=ceiling, ci95=ceiling_ci)},
                 nulls)  # fmt: skip


def alignment(A=0.5, *, p: float | None = 0.001, random=None, ci=None):
    return AlignmentScores(
        score=A,
        ci95=ci,
        circuit_alignment=None,
        circuit_ci95=None,
        mean_similarity=0.6,
        shuffle=None if p is None else ShuffleNull(mean=0.4, sd=0.01, p=p, n=1000),
        random_student=None if random is None else RandomStudentNull(scores=random, seeds=(0, 1), p=1 / 3),
    )


@pytest.mark.parametrize(
    ("scores", "before", "grade"),
    [
        (alignment(), None, "above"),
        (alignment(), 0.4, "above"),
        (alignment(), 0.5, "copied"),
        (alignment(p=0.2), 0.6, "chance"),
        (alignment(p=0.05), None, "chance"),
        (alignment(p=None), None, "unjudged"),
        (alignment(p=None), 0.6, "copied"),
        (alignment(p=None, random=(0.1, 0.2)), None, "above"),
        (alignment(p=None, random=(0.1, 0.45), ci=(0.44, 0.55)), None, "chance"),
    ],
)
def test_where_A_stands(scores, before, grade):
    assert grade_alignment(scores, before) == grade


@pytest.mark.parametrize(
    ("found", "grade"),
    [
        (prints(0.95), "ceiling"),
        (prints(0.86, ceiling_ci=(0.85, 0.93)), "ceiling"),
        (prints(0.84, (0.8, 0.88), ceiling_ci=(0.85, 0.93)), "part"),
        (prints(0.45, (0.4, 0.51)), "part"),
        (prints(0.45, (0.4, 0.49)), "minor"),
        (prints(0.45), "minor"),
        (prints(0.25, p=0.2), "chance"),
        (prints(0.95, p=0.05), "chance"),
        (prints(0.5, ceiling=0.5), "unsteady"),
        (prints(0.3, ceiling=0.5), "minor"),
        (prints(0.95, p=None), "unjudged"),
    ],
)
def test_where_F_stands(found, grade):
    assert grade_fingerprint(*found) == grade


def test_a_copy_that_lost_its_effect_is_told_from_a_good_one():
    """A copy is as alike as ever and its parts do nothing; a student from nothing does the work in another form."""
    broken = reading(alignment(), None, *prints(0.1, p=0.6), able=True)
    assert "F is not clearly above its null, and A is above its null" in broken
    assert "a copy that lost its effect or a student that does the task in another way" in broken
    anew = reading(alignment(p=0.4), None, *prints(0.93), able=True)
    assert "do to the answer what the teacher's do" in anew
    assert "the same work in another form" in anew
    assert "copied layers alone" in reading(alignment(), 0.5, *prints(0.7), able=True)


def test_a_model_that_cannot_do_the_task_shares_no_way_of_doing_it():
    said = reading(alignment(), None, *prints(1.0), able=False)
    assert said.startswith("One of the models cannot be shown to do the task")


def test_every_case_is_one_sentence_and_likeness_is_claimed_only_above_the_null():
    said = {(a, f): sentence(a, f) for a, f in itertools.product(_ALIGNMENT, _FINGERPRINT)}
    for (a, f), text in said.items():
        assert text.endswith(".") and text.count(". ") == 0 and text[0].isupper()
        assert ("do to the answer what the teacher's do" in text) == (f == "ceiling")
        assert "alike too" not in text or a == "above"
        if f in ("minor", "chance") and a == "chance":
            assert "little or nothing here shows" in text
