"""Every option of an alignment, checked before any work is done."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from circuitkit.alignment.matching import Direction, MatchingMethod
from circuitkit.alignment.similarity.types import SimilarityOption
from circuitkit.core.errors import OptionError
from circuitkit.discovery.normalize import Normalize, Sign
from circuitkit.interventions.ablation import Ablation

NullOption = Literal["shuffle", "random-student", "both", "none"]
BatchSize = int | Literal["auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignSettings:
    """Options that the numbers of an alignment depend on; see `align` for what they mean.

    Attributes:
        n_prompts: Prompts asked for.
        ablation: What replaces an ablated activation.
        similarity: How activations are compared.
        matching: How components are matched.
        normalize: How drops become influences.
        influence_sign: How components are counted whose ablation helps.
        direction: The model whose components are the sources of matches.
        top_k: How many of each model's most influential components take part; None means all.
        bootstrap: Draws behind the intervals; 0 for none.
        null: The nulls that stand beside the score.
        seed: Seed of prompts, bootstrap, permutations and random students.
    """

    n_prompts: int
    ablation: Ablation
    similarity: SimilarityOption
    matching: MatchingMethod
    normalize: Normalize
    influence_sign: Sign
    direction: Direction
    top_k: int | None
    bootstrap: int
    null: NullOption
    seed: int

    def __post_init__(self) -> None:
        _one_of("Similarity", self.similarity, get_args(SimilarityOption))
        _one_of("Matching", self.matching, get_args(MatchingMethod))
        _one_of("Normalisation", self.normalize, get_args(Normalize))
        _one_of("Influence sign", self.influence_sign, get_args(Sign))
        _one_of("Direction", self.direction, get_args(Direction))
        _one_of("Null", self.null, get_args(NullOption))
        _at_least("Number of prompts", self.n_prompts, 1)
        _at_least("Number of bootstrap draws", self.bootstrap, 0)
        if self.top_k is not None:
            _at_least("Top-k", self.top_k, 1)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "ablation": self.ablation.value}


def _one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise OptionError(f"{what} {given!r} unknown; choose one of {', '.join(known)}.")


def _at_least(what: str, given: int, least: int) -> None:
    if given < least:
        raise OptionError(f"{what} {given} is too small; give {least} or more.")
