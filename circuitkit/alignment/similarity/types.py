"""What every similarity measure makes: one matrix for the heads, one for the MLPs."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

SimilarityOption = Literal["auto", "output", "z", "pattern", "cka"]
HeadMethod = Literal["output", "z", "pattern", "cka"]
MlpMethod = Literal["eigenvectors", "cka"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Similarity:
    """Similarities of all components of two models; heads layer by layer, as in `all_components`.

    Attributes:
        heads: Similarity of every teacher head with every student head (float64, at most 1).
        mlps: The same of the MLPs, in [0, 1].
        method_heads: How heads were compared.
        method_mlps: How MLPs were compared.
        notices: What the user must know about the choice of method.
    """

    heads: Float[Tensor, "teacher_head student_head"]
    mlps: Float[Tensor, "teacher_mlp student_mlp"]
    method_heads: HeadMethod
    method_mlps: MlpMethod
    notices: tuple[str, ...] = ()

    @property
    def n_teacher(self) -> int:
        """Number of components of the teacher."""
        return self.heads.shape[0] + self.mlps.shape[0]

    @property
    def n_student(self) -> int:
        """Number of components of the student."""
        return self.heads.shape[1] + self.mlps.shape[1]
