"""How alike the MLPs of two models are, every one with every other: the matrix behind their matching."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.positions import share_positions
from circuitkit.alignment.similarity.cka import cka_similarity
from circuitkit.alignment.similarity.eigenvectors import eigenvector_similarity
from circuitkit.alignment.similarity.measure import choose_methods
from circuitkit.alignment.similarity.types import MlpMethod
from circuitkit.alignment.summary import summarise
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MlpSimilarity:
    """Similarity of all MLPs of two models, in [0, 1].

    Attributes:
        values: Teacher by student.
        method: `eigenvectors`: mean absolute cosine of the three leading eigenvectors of the output covariance (Eq. 6
            of Distilled Circuits); `cka`: linear centred kernel alignment.
    """

    values: Float[Tensor, "teacher_mlp student_mlp"]
    method: MlpMethod

    def frame(self) -> pd.DataFrame:
        """The matrix with the names of the MLPs."""
        teacher, student = ([f"MLP{layer}" for layer in range(n)] for n in self.values.shape)
        return pd.DataFrame(self.values.numpy(), index=teacher, columns=student)

    def to_dict(self) -> dict[str, Any]:
        """The matrix with the names of the MLPs, as JSON."""
        frame = self.frame()
        return {
            "method": self.method,
            "teacher": list(frame.index),
            "student": list(frame.columns),
            "values": self.values.tolist(),
        }


def mlp_similarity(
    models: tuple[HookedModel, HookedModel],
    batches: tuple[PromptBatch, PromptBatch],
    *,
    method: MlpMethod | str = "auto",
    batch_size: BatchSize = "auto",
    progress: Progress = silent,
) -> MlpSimilarity:
    """Compare all MLPs of a teacher with all of a student on the clean prompts, as `align` does, without the heads.

    Args:
        models: The teacher and the student.
        batches: The same prompts for either of them.
        method: `auto`: eigenvectors where widths agree, else cka.
        batch_size: Prompts run at a time, at most.
        progress: Called as prompts are done.

    Raises:
        OptionError: The method is unknown, or is not defined between these widths.
    """
    teacher, student = models
    if method not in ("auto", "eigenvectors", "cka"):
        raise OptionError(f"Method {method!r} unknown; choose auto, eigenvectors or cka.")
    chosen = choose_methods("auto", teacher.info, student.info)[1] if method == "auto" else method
    if chosen == "eigenvectors" and teacher.info.d_model != student.info.d_model:
        raise OptionError(
            f"Eigenvectors of MLPs of different width cannot be compared (d_model {teacher.info.d_model} against "
            f"{student.info.d_model}); use cka."
        )
    shared = share_positions(*batches)
    if chosen == "cka":
        values = cka_similarity(models, batches, shared, kind="mlp", batch_size=batch_size, progress=progress)
        return MlpSimilarity(values=values, method=chosen)
    summaries = [
        summarise(
            model, batch, shared, need=("mlp",), batch_size=batch_size, stage=f"{side} activations", progress=progress
        )
        for side, model, batch in zip(("teacher", "student"), models, batches, strict=True)
    ]
    return MlpSimilarity(values=eigenvector_similarity(summaries[0], summaries[1]), method=chosen)
