"""From performance drops to influence scores."""

from typing import Literal, cast, get_args

from jaxtyping import Float
from torch import Tensor

from circuitkit.core.errors import OptionError

Normalize = Literal["max", "l1", "l2"]
Sign = Literal["clamp", "abs"]


def normalize_influence(
    drops: Float[Tensor, "*draw component"], *, normalize: Normalize | str = "max", sign: Sign | str = "clamp"
) -> Float[Tensor, "*draw component"]:
    """Influence of every component (Distilled Circuits, Eq. 5).

    Args:
        drops: Mean drop of the logit difference when a component is ablated, in logits; the last axis runs
            over all components of one model.
        normalize: Divide by the greatest influence (`max`, the paper's equation), by the sum (`l1`, the
            published notebooks) or by the Euclidean norm (`l2`).
        sign: `clamp` counts components whose ablation helps as 0 (the paper's text), `abs` counts the size
            of their effect (the notebooks).

    Returns:
        Influence in [0, 1]; zeros where no component has any.

    Raises:
        OptionError: An option is unknown.
    """
    normalize, sign = parse_normalize(normalize), parse_sign(sign)
    raw = drops.clamp(min=0) if sign == "clamp" else drops.abs()
    if normalize == "max":
        scale = raw.amax(-1, keepdim=True)
    else:
        scale = raw.norm(p=1 if normalize == "l1" else 2, dim=-1, keepdim=True)
    return raw / scale.where(scale > 0, 1.0)


def parse_normalize(normalize: str) -> Normalize:
    """What drops are divided by, checked.

    Raises:
        OptionError: There is no such normalisation.
    """
    if normalize not in get_args(Normalize):
        raise OptionError(f"Normalisation {normalize!r} unknown; choose one of {', '.join(get_args(Normalize))}.")
    return cast(Normalize, normalize)


def parse_sign(sign: str) -> Sign:
    """How components count whose ablation helps, checked.

    Raises:
        OptionError: There is no such rule.
    """
    if sign not in get_args(Sign):
        raise OptionError(f"Sign rule {sign!r} unknown; choose one of {', '.join(get_args(Sign))}.")
    return cast(Sign, sign)


def influence_unit(normalize: Normalize, sign: Sign) -> str:
    """What an influence is, in plain words."""
    divisor = {"max": "the greatest drop", "l1": "the sum of the drops", "l2": "the Euclidean norm of the drops"}
    counted = {"clamp": "drops below 0 count as 0", "abs": "drops count by their size"}
    return f"drop divided by {divisor[normalize]} among the model's components; {counted[sign]}"
