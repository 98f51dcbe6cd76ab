"""What training and distillation minimise."""

from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def label_loss(
    logits: Float[Tensor, "row pos vocab"], labels: Int[Tensor, "row pos"], weights: Float[Tensor, "row pos"]
) -> Float[Tensor, ""]:
    """Weighted mean cross-entropy, in nats, over the positions of positive weight."""
    used = weights > 0
    losses = functional.cross_entropy(logits[used], labels[used], reduction="none")
    return (losses * weights[used]).sum() / weights.sum()


def logit_loss(
    student: Float[Tensor, "row pos vocab"],
    teacher: Float[Tensor, "row pos vocab"],
    weights: Float[Tensor, "row pos"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Weighted mean of T^2 KL(teacher || student) at temperature T, over the positions of positive weight.

    Hinton, Vinyals and Dean 2015, Distilling the Knowledge in a Neural Network.
    """
    used = weights > 0
    wanted = functional.log_softmax(teacher[used] / temperature, dim=-1)
    given = functional.log_softmax(student[used] / temperature, dim=-1)
    divergence = reduce(wanted.exp() * (wanted - given), "token vocab -> token", "sum")
    return temperature**2 * (divergence * weights[used]).sum() / weights.sum()
