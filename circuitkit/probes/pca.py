"""What the MLPs of two models write at one place, along the directions in which it varies most."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.interventions.rows import shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

PROMPTS_AT_A_TIME = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MlpPca:
    """Principal components of two MLPs' outputs at one label, over the same clean prompts.

    Attributes:
        label: Where they were read.
        layers: The blocks of the teacher and of the student.
        teacher: Coordinates of every prompt along the teacher's own directions, in the units of its stream.
        student: The same of the student.
        teacher_variance: Share of the teacher's variance along each of its directions.
        student_variance: The same of the student.
        shared: The student's outputs along the teacher's directions, centred by its own mean; None where widths
            differ.
        cosines: Absolute cosines between the directions of the two; None where widths differ.
    """

    label: str
    layers: tuple[int, int]
    teacher: Float[Tensor, "prompt direction"]
    student: Float[Tensor, "prompt direction"]
    teacher_variance: Float[Tensor, " direction"]
    student_variance: Float[Tensor, " direction"]
    shared: Float[Tensor, "prompt direction"] | None
    cosines: Float[Tensor, "teacher_direction student_direction"] | None


def mlp_pca(
    models: tuple[HookedModel, HookedModel],
    batches: tuple[PromptBatch, PromptBatch],
    layers: tuple[int, int],
    *,
    label: str = "END",
    n_directions: int = 3,
) -> MlpPca:
    """PCA (scikit-learn) of the MLP outputs of a teacher and a student on the same prompts.

    Args:
        models: The teacher and the student.
        batches: The same prompts for either of them; see `alignment.prompts.shared_batches`.
        layers: Which block of each.
        label: At the last token of which label.
        n_directions: Directions kept.

    Raises:
        OptionError: The prompts of the two differ, a layer or the label does not exist, or there are not so many
            directions.
    """
    if batches[0].prompt_index != batches[1].prompt_index:
        raise OptionError("The two batches hold different prompts; make them with shared_batches.")
    teacher, student = (
        _outputs(model, batch, layer, label) for model, batch, layer in zip(models, batches, layers, strict=True)
    )
    most = min(*teacher.shape, *student.shape)
    if not 1 <= n_directions <= most:
        raise OptionError(f"{n_directions} directions were asked for; these prompts and widths have 1 to {most}.")
    own, other = (PCA(n_components=n_directions, svd_solver="full").fit(x.numpy()) for x in (teacher, student))
    alike = teacher.shape[1] == student.shape[1]
    directions, others = torch.from_numpy(own.components_), torch.from_numpy(other.components_)
    return MlpPca(
        label=label,
        layers=layers,
        teacher=torch.from_numpy(own.transform(teacher.numpy())).float(),
        student=torch.from_numpy(other.transform(student.numpy())).float(),
        teacher_variance=torch.from_numpy(own.explained_variance_ratio_).float(),
        student_variance=torch.from_numpy(other.explained_variance_ratio_).float(),
        shared=((student - student.mean(0)) @ directions.T).float() if alike else None,
        cosines=(directions @ others.T).abs().float() if alike else None,
    )


def _outputs(model: HookedModel, batch: PromptBatch, layer: int, label: str) -> Float[Tensor, "prompt d_model"]:
    """What an MLP writes at a label of every clean prompt (float64)."""
    if label not in batch.label_positions:
        known = ", ".join(batch.label_positions) or "none"
        raise OptionError(f"The prompts of task {batch.task.name!r} have no label {label!r}; theirs: {known}.")
    out = torch.zeros(len(batch.pairs), model.info.d_model, dtype=torch.float64)
    for rows in shards(batch, PROMPTS_AT_A_TIME):
        taken = take(batch.clean, rows, model)
        written = model.capture(taken.ids, taken.mask, ("mlp_out",), (layer,))["mlp_out"][layer]
        at = batch.label_positions[label][rows].to(written.device)
        out[rows] = written[torch.arange(len(rows), device=written.device), at].double().cpu()
    return out
