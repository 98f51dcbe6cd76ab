"""Random orthogonal matrices of the kinds that leave a model's function alone."""

import torch
from jaxtyping import Float
from torch import Tensor


def random_orthogonal(d: int, generator: torch.Generator) -> Float[Tensor, "d d"]:
    """Drawn evenly (Haar), in float64: the Q of a Gaussian matrix, signs fixed by R (Mezzadri 2007, section 5)."""
    q, r = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    return q * torch.sign(torch.diagonal(r))


def mean_preserving(d: int, generator: torch.Generator) -> Float[Tensor, "d d"]:
    """Leaves the vector of ones where it is, and so commutes with taking the mean out, as LayerNorm does."""
    basis = torch.eye(d, dtype=torch.float64)
    basis[:, 0] = 1
    basis, _ = torch.linalg.qr(basis)  # its first column is the direction of ones, up to sign
    inner = torch.eye(d, dtype=torch.float64)
    inner[1:, 1:] = random_orthogonal(d - 1, generator)
    return basis @ inner @ basis.T


def rope_commuting(d: int, generator: torch.Generator) -> Float[Tensor, "d d"]:
    """Turns every pair (i, i + d/2) by an angle of its own: what commutes with RoPE, whose pairs these are.

    Su et al. 2021, RoFormer, equation 15, with the pairs as Hugging Face lays them out.
    """
    angle = 2 * torch.pi * torch.rand(d // 2, generator=generator, dtype=torch.float64)
    cos, sin = torch.diag(angle.cos()), torch.diag(angle.sin())
    return torch.cat([torch.cat([cos, sin], dim=1), torch.cat([-sin, cos], dim=1)])


def permutation_matrix(d: int, generator: torch.Generator) -> Float[Tensor, "d d"]:
    """A random order of the coordinates, as a matrix."""
    return torch.eye(d, dtype=torch.float64)[torch.randperm(d, generator=generator)]
