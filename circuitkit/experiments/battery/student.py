"""What is known about a student of the battery before any score has seen it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from circuitkit.core.errors import OptionError

FamilyName = Literal["gpt2", "bert", "llama"]
FAMILY_NAMES: tuple[FamilyName, ...] = ("gpt2", "bert", "llama")
NOISE_LEVELS = (0.1, 0.2, 0.4, 0.8)


class Law(StrEnum):
    """What a score must make of a student."""

    INVARIANT = "the teacher's function in another basis: the score of the teacher with itself, to 1e-4"
    HONEST = "solves the task without the cue: above every shortcut, intervals apart"
    NOISE = "below the distilled student that the noise was added to, and lower the more there is"
    INITIALISED = "below every level of noise on the distilled student, above random weights"
    RANDOM = "where the null is"
    SHORTCUT = "below every honest solver, on prompts where both are right"
    SURGERY = "an honest solver, below the teacher itself; the changed heads show in the matching"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentSpec:
    """One student.

    Attributes:
        key: Its name.
        title: How it is made, in a few words.
        law: What a score must make of it.
        families: Families in which it can be made.
        trained: Whether it takes training, and is kept on disk.
        base: The student that it is made from; None where that is the teacher, or nobody.
        cue: The task whose cue it was taught; on other tasks it is an honest solver.
        level: Weight noise, in standard deviations of each tensor.
    """

    key: str
    title: str
    law: Law
    families: tuple[FamilyName, ...] = FAMILY_NAMES
    trained: bool = False
    base: str | None = None
    cue: str | None = None
    level: float = 0.0

    def law_on(self, task: str) -> Law:
        """What a score must make of it on one task: a shortcut on another task than its own is honest."""
        return Law.HONEST if self.law is Law.SHORTCUT and task != self.cue else self.law


_EXACT = (
    StudentSpec(key="identity", title="the teacher itself", law=Law.INVARIANT),
    StudentSpec(key="heads-permuted", title="heads in another order", law=Law.INVARIANT),
    StudentSpec(key="heads-rotated", title="heads in another inner basis", law=Law.INVARIANT),
    StudentSpec(key="neurons-permuted", title="MLP neurons in another order", law=Law.INVARIANT),
    StudentSpec(
        key="stream-rotated",
        title="the residual stream in another basis",
        law=Law.INVARIANT,
        families=("gpt2", "llama"),
    ),
    StudentSpec(key="stream-permuted", title="the residual stream's coordinates in another order", law=Law.INVARIANT),
)
_LEARNED = (
    StudentSpec(key="distilled", title="distilled, started from teacher layers", law=Law.HONEST, trained=True),
    StudentSpec(key="distilled-random", title="distilled from random weights", law=Law.HONEST, trained=True),
    StudentSpec(key="labels", title="trained on labels, no teacher", law=Law.HONEST, trained=True),
    StudentSpec(key="other-seed", title="the teacher's size, trained on labels", law=Law.HONEST, trained=True),
    StudentSpec(key="shortcut-ioi", title="taught that the IO comes second", law=Law.SHORTCUT, trained=True, cue="ioi"),
    StudentSpec(
        key="shortcut-numerals",
        title="taught that the last noun is the answer",
        law=Law.SHORTCUT,
        trained=True,
        cue="numerals",
    ),
    StudentSpec(key="ablated-healed", title="one teacher head taken out, healed", law=Law.SURGERY, trained=True),
    StudentSpec(key="merged-healed", title="two teacher heads merged, healed", law=Law.SURGERY, trained=True),
)
_BROKEN = (
    *(
        StudentSpec(
            key=f"noise-{level:g}",
            title=f"distilled, weight noise {level:g} sd",
            law=Law.NOISE,
            base="distilled",
            level=level,
        )
        for level in NOISE_LEVELS
    ),
    StudentSpec(key="initialised", title="teacher layers, not distilled", law=Law.INITIALISED),
    StudentSpec(key="random", title="random weights", law=Law.RANDOM),
)
STUDENTS: tuple[StudentSpec, ...] = (*_EXACT, *_LEARNED, *_BROKEN)


def students_of(family: str) -> tuple[StudentSpec, ...]:
    """The students that can be made in a family, bases before what is made from them."""
    return tuple(spec for spec in STUDENTS if family in spec.families)


def student_spec(key: str) -> StudentSpec:
    """The student of a name.

    Raises:
        OptionError: There is none.
    """
    for spec in STUDENTS:
        if spec.key == key:
            return spec
    raise OptionError(f"There is no student {key!r} in the battery; there are {', '.join(s.key for s in STUDENTS)}.")
