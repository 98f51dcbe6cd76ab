"""Similarity of heads by where they attend on average: `pattern`, as in the published notebooks."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.summary import ActivationSummary


def pattern_similarity(
    teacher: ActivationSummary, student: ActivationSummary
) -> Float[Tensor, "teacher_head student_head"]:
    """Row-wise cosine of the dataset-mean attention patterns, averaged over query rows.

    Rows of several template groups count by the share of the prompts that have them. Defined between
    models of any width, as long as they share positions.
    """
    return (_unit_rows(teacher) @ _unit_rows(student).T).clamp(max=1)


def _unit_rows(summary: ActivationSummary) -> Float[Tensor, "any_head feature"]:
    """Rows of unit length, scaled so that an inner product is the weighted mean of the rows' cosines."""
    assert summary.pattern is not None
    pattern, weight = summary.pattern, summary.row_weight / summary.row_weight.sum()
    norm = pattern.norm(dim=-1, keepdim=True)
    unit = pattern / norm.where(norm > 0, 1.0) * rearrange(weight.sqrt(), "row -> 1 row 1 1")
    return rearrange(unit, "layer row head key -> (layer head) (row key)")
