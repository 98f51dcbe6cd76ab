"""The maps from what an attention reads to its queries, keys and values."""

from dataclasses import dataclass

from circuitkit.models.affine import Affine


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projections:
    """One block's three maps; heads lie side by side along their outputs.

    Attributes:
        q: To the queries, before any rotation.
        k: To the keys of all key-value heads, before any rotation.
        v: To the values of all key-value heads.
    """

    q: Affine
    k: Affine
    v: Affine
