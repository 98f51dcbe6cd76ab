"""Similarity of MLPs by the leading directions of what they write (Eq. 6 of Distilled Circuits)."""

from einops import einsum
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.summary import LEADING, ActivationSummary


def eigenvector_similarity(
    teacher: ActivationSummary, student: ActivationSummary
) -> Float[Tensor, "teacher_mlp student_mlp"]:
    """Mean over k = 1..3 of |cos(u_T[k], u_S[k])|, u the eigenvectors of the centred output covariance."""
    assert teacher.mlp_axes is not None and student.mlp_axes is not None
    cosines = einsum(teacher.mlp_axes, student.mlp_axes, "t k d_model, s k d_model -> t s k")
    return (cosines.abs().sum(-1) / LEADING).clamp(max=1)
