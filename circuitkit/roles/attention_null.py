"""What attention to a role's keys would be by chance: each query's keys are drawn anew from what it could read."""

from jaxtyping import Bool, Float
from torch import Tensor


def chance_weights(
    keys: Bool[Tensor, "*row query key"], could: Bool[Tensor, "*row query key"]
) -> Float[Tensor, "*row query key"]:
    """Weights that make of a pattern the attention expected on keys that are moved at random.

    Each query keeps the number of its keys; they are drawn without return from what it could read of the text (no
    special tokens, not itself; in causal models nothing behind it). Every such key is drawn with the same probability,
    so that the mean over all permutations needs no draws.

    Args:
        keys: What each query reads.
        could: What it could read instead.
    """
    n_keys, n_could = keys.sum(-1, keepdim=True), could.sum(-1, keepdim=True).clamp(min=1)
    return could.float() * (n_keys / n_could)
