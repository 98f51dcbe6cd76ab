"""Every option of an alignment, checked before any work is done."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from circuitkit.alignment.fingerprint_score import FEWEST_PROMPTS
from circuitkit.alignment.fingerprint_screen import parse_choice
from circuitkit.alignment.matching import Direction, MatchingMethod
from circuitkit.alignment.similarity.types import SimilarityOption
from circuitkit.core.errors import OptionError
from circuitkit.core.seeds import check_seed
from circuitkit.discovery.measure import Method, parse_method
from circuitkit.discovery.normalize import Normalize, Sign
from circuitkit.interventions.ablation import Ablation, parse_ablation

NullOption = Literal["shuffle", "random-student", "both", "none"]
BatchSize = int | Literal["auto"]
AUTO = "auto"
FINGERPRINT_PROMPTS = 64
"""On how many prompts fingerprints are taken: their sweep is many times that of A, prompt by prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignSettings:
    """Every option of an alignment; see `align` for what they mean.

    Attributes:
        n_prompts: Prompts asked for.
        ablation: What replaces an ablated activation.
        method: Whether every influence is measured (`exact`) or only what can matter (`screen`).
        similarity: How activations are compared.
        matching: How components are matched.
        normalize: How drops become influences.
        influence_sign: How components are counted whose ablation helps.
        direction: The model whose components are the sources of matches.
        top_k: How many of each model's most influential components take part; None means all.
        bootstrap: Draws behind the intervals; 0 for none.
        null: The nulls that stand beside the score.
        controls: Whether the student before distillation is measured where its origin is known.
        seed: Seed of prompts, bootstrap, permutations and random students.
        batch_size: Rows run at a time.
        data: The data file that took the place of the task's own, as typed; None where there was none.
        fingerprint: Whether fingerprints are compared too.
        fingerprint_components: Of which components: `all`, `top:K` or `auto`.
        fingerprint_prompts: On how many prompts at most.
    """

    n_prompts: int
    ablation: Ablation
    method: Method
    similarity: SimilarityOption
    matching: MatchingMethod
    normalize: Normalize
    influence_sign: Sign
    direction: Direction
    top_k: int | None
    bootstrap: int
    null: NullOption
    controls: bool
    seed: int
    batch_size: BatchSize = "auto"
    data: str | None = None
    fingerprint: bool = False
    fingerprint_components: str = AUTO
    fingerprint_prompts: int = FINGERPRINT_PROMPTS

    @classmethod
    def parse(
        cls,
        *,
        n_prompts: int,
        ablation: Ablation | str,
        method: str,
        similarity: str,
        matching: str,
        normalize: str,
        influence_sign: str,
        direction: str,
        top_k: int | None,
        bootstrap: int,
        null: str,
        controls: bool,
        seed: int,
        batch_size: BatchSize,
        data: str | None,
        fingerprint: bool = False,
        fingerprint_components: str = AUTO,
        fingerprint_prompts: int = FINGERPRINT_PROMPTS,
    ) -> "AlignSettings":
        """Check every option.

        Raises:
            OptionError: An option is unknown or out of range.
        """
        return cls(
            n_prompts=_at_least("Number of prompts", n_prompts, 1),
            ablation=parse_ablation(ablation),
            method=parse_method(method),
            similarity=_one_of("Similarity", similarity, SimilarityOption),
            matching=_one_of("Matching", matching, MatchingMethod),
            normalize=_one_of("Normalisation", normalize, Normalize),
            influence_sign=_one_of("Influence sign", influence_sign, Sign),
            direction=_one_of("Direction", direction, Direction),
            top_k=None if top_k is None else _at_least("Top-k", top_k, 1),
            bootstrap=_at_least("Number of bootstrap draws", bootstrap, 0),
            null=_one_of("Null", null, NullOption),
            controls=controls,
            seed=check_seed(seed),
            batch_size=batch_size if batch_size == "auto" else _at_least("Batch size", batch_size, 1),
            data=data,
            fingerprint=fingerprint,
            fingerprint_components=_components(fingerprint_components),
            fingerprint_prompts=_at_least("Number of fingerprint prompts", fingerprint_prompts, FEWEST_PROMPTS),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "ablation": self.ablation.value}


def _one_of(what: str, given: str, choices: Any) -> Any:  # noqa: ANN401 - a Literal type and one of its values
    if given not in get_args(choices):
        raise OptionError(f"{what} {given!r} unknown; choose one of {', '.join(get_args(choices))}.")
    return given


def _components(given: str) -> str:
    if given == AUTO:
        return given
    try:
        parse_choice(given)
    except OptionError as error:
        raise OptionError(str(error).replace("give all,", "give auto, all,")) from error
    return given


def _at_least(what: str, given: int, least: int) -> int:
    if given < least:
        raise OptionError(f"{what} {given} is too small; give {least} or more.")
    return given
