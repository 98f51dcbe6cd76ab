"""Which pairs of models are run: what is at hand is, nothing is downloaded."""

from collections.abc import Sequence
from dataclasses import dataclass

from circuitkit.core.errors import ModelError, OptionError
from circuitkit.experiments.published.figures import published
from circuitkit.models.embedded import EMBEDDED
from circuitkit.models.hub import in_cache
from circuitkit.models.sources import looks_like_hub_id

EMBEDDED_PAIRS = (("toy-gpt2", "toy-distilgpt2"), ("toy-bert", "toy-distilbert"), ("toy-llama", "toy-minitron"))
_DEFAULT = ("gpt2/distilgpt2", "bert/distilbert", "llama/minitron")
_HUB_IDS_SLASHES = 3  # org/teacher/org/student


@dataclass(frozen=True, slots=True, kw_only=True)
class PairNames:
    """A teacher and a student by name."""

    teacher: str
    student: str

    def __str__(self) -> str:
        """As in the paper: teacher/student."""
        return f"{self.teacher}/{self.student}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A pair, or a study of one, that was not run.

    Attributes:
        what: The pair, or the pair and the study.
        why: Why not.
    """

    what: str
    why: str


def parse_pairs(text: str) -> tuple[PairNames, ...]:
    """Read `T/S,T/S`; `T:S` where names hold slashes themselves.

    Raises:
        OptionError: It is neither.
    """
    return tuple(_parse(part.strip()) for part in text.split(","))


def _parse(text: str) -> PairNames:
    if text.count(":") == 1:
        teacher, student = text.split(":")
    else:
        parts = text.split("/")
        middle = {1: 1, _HUB_IDS_SLASHES: 2}.get(len(parts) - 1)
        teacher, student = ("", "") if middle is None else ("/".join(parts[:middle]), "/".join(parts[middle:]))
    if not teacher.strip() or not student.strip():
        raise OptionError(
            f"--pairs {text[:80]!r} not understood; give TEACHER/STUDENT, or TEACHER:STUDENT where names hold slashes."
        )
    return PairNames(teacher=teacher.strip(), student=student.strip())


def choose_pairs(given: Sequence[PairNames] | None) -> tuple[tuple[PairNames, ...], tuple[Skipped, ...]]:
    """Pairs to run and pairs that are not at hand.

    Args:
        given: The pairs asked for; None for the paper's own and then the embedded ones.

    Raises:
        OptionError: A pair is given twice.
        ModelError: None of the pairs given is at hand.
    """
    if given is None:
        paper = [published().pairs[name] for name in _DEFAULT]
        asked = [_named_in_cache(pair.teacher, pair.student) for pair in paper]
        asked += [PairNames(teacher=teacher, student=student) for teacher, student in EMBEDDED_PAIRS]
    else:
        asked = list(given)
        if len(set(asked)) < len(asked):
            raise OptionError("--pairs names a pair twice; give each once.")
    run: list[PairNames] = []
    skipped: list[Skipped] = []
    for pair in asked:
        missing = [name for name in (pair.teacher, pair.student) if not _at_hand(name)]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            why = f"{' and '.join(missing)} {verb} not in the local hub cache, and reproduce downloads nothing"
            skipped.append(Skipped(what=str(pair), why=why))
        else:
            run.append(pair)
    if not run:
        raise ModelError(
            f"No pair to run: {'; '.join(f'{s.what}: {s.why}' for s in skipped)}. Fetch the models with hf download, "
            "or name directories or embedded models with --pairs."
        )
    return tuple(run), tuple(skipped)


def _named_in_cache(teachers: Sequence[str], students: Sequence[str]) -> PairNames:
    """The ids under which the two are in the cache; the usual ones where they are not."""
    return PairNames(
        teacher=next((name for name in teachers if in_cache(name)), teachers[0]),
        student=next((name for name in students if in_cache(name)), students[0]),
    )


def _at_hand(name: str) -> bool:
    """Whether a model can be loaded without a download; what is no hub id is left to the loader to judge."""
    return name in EMBEDDED or not looks_like_hub_id(name) or in_cache(name)
