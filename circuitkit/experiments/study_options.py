"""Options that single studies take beside those of the pair."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from circuitkit.core.errors import OptionError

Where = Literal["compared", "forward", "both"]
Unit = Literal["activation", "rms"]
_MOST_LEVELS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOptions:
    """What a study may be told; None leaves it to the study.

    Attributes:
        levels: Values that are swept: standard deviations of the noise, thresholds.
        repeats: Noise: draws at each level.
        where: Noise: what gets it.
        unit: Noise: its unit.
        search: Threshold: how circuits are found.
        top: Attention, QK, PCA: how many matched pairs of heads or MLPs are drawn.
    """

    levels: tuple[float, ...] | None = None
    repeats: int | None = None
    where: Where | str | None = None
    unit: Unit | str | None = None
    search: str | None = None
    top: int | None = None

    def __post_init__(self) -> None:
        """Check what does not depend on the study.

        Raises:
            OptionError: An option is unknown or out of range.
        """
        if self.levels is not None:
            _check_levels(self.levels)
        for name in ("repeats", "top"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise OptionError(f"--{name} {given} is too small; give 1 or more.")
        for name, choices in (("where", Where), ("unit", Unit)):
            given = getattr(self, name)
            if given is not None and given not in get_args(choices):
                raise OptionError(f"--{name} {given!r} unknown; choose one of {', '.join(get_args(choices))}.")

    @property
    def given(self) -> dict[str, Any]:
        """The options that were set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def option_names() -> tuple[str, ...]:
    """Every option of any study."""
    return tuple(field.name for field in fields(StudyOptions))


def parse_levels(text: str) -> tuple[float, ...]:
    """Read numbers: `0,0.5,1`, or `FIRST:LAST:STEP` with both ends.

    Raises:
        OptionError: It is neither.
    """
    try:
        if ":" in text:
            first, last, step = (float(part) for part in text.split(":"))
            return level_range(first, last, step)
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise OptionError(
            f"--levels {text[:60]!r} not understood; give numbers such as 0,0.5,1, or FIRST:LAST:STEP."
        ) from error


def level_range(first: float, last: float, step: float) -> tuple[float, ...]:
    """Evenly spaced values from `first` to `last`, both among them where the step goes into the whole.

    Raises:
        OptionError: The step leads nowhere, or there would be too many.
    """
    if not all(map(math.isfinite, (first, last, step))) or step <= 0 or last < first:
        raise OptionError(
            f"--levels {first:g}:{last:g}:{step:g} leads nowhere; give FIRST below LAST and a STEP above 0."
        )
    n = math.floor((last - first) / step + 1e-9) + 1
    if n > _MOST_LEVELS:
        raise OptionError(f"--levels {first:g}:{last:g}:{step:g} makes {n} values; give a larger STEP.")
    return tuple(round(first + i * step, 12) for i in range(n))


def _check_levels(levels: tuple[float, ...]) -> None:
    if not levels or len(set(levels)) < len(levels):
        raise OptionError("--levels must hold at least one value, and each once.")
    if broken := [x for x in levels if not math.isfinite(x)]:
        raise OptionError(f"--levels holds {broken[0]:g}; give finite numbers.")
