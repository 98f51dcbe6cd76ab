"""What an ablated component's activation is replaced by."""

from enum import StrEnum

from circuitkit.core.errors import OptionError


class Ablation(StrEnum):
    """The four replacements of ALIGNMENT ("Ablation"); Distilled Circuits uses the first.

    Means are taken per template group of equal token length, position by position; where a task has no
    such groups, over all non-pad positions of all prompts.
    """

    CORRUPTED_MEAN = "corrupted-mean"
    """The mean over the corrupted prompts."""
    MEAN = "mean"
    """The mean over the clean prompts."""
    RESAMPLE = "resample"
    """The activation on the prompt's own corrupted partner."""
    ZERO = "zero"
    """Zeros."""

    @property
    def needs_corrupted(self) -> bool:
        """Whether corrupted prompts are needed."""
        return self in (Ablation.CORRUPTED_MEAN, Ablation.RESAMPLE)


def parse_ablation(ablation: Ablation | str) -> Ablation:
    """Read an ablation's name.

    Raises:
        OptionError: There is no such ablation.
    """
    try:
        return Ablation(ablation)
    except ValueError as error:
        raise OptionError(f"Ablation {str(ablation)!r} unknown; choose one of {', '.join(Ablation)}.") from error
