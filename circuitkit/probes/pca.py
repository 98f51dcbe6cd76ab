"""What the MLPs of two models write at one place, along the directions in which it varies most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.interventions.rows import shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.prompt import END

PROMPTS_AT_A_TIME = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MlpPca:
    """Principal components of two MLPs' outputs at one label, over the same clean prompts.

    Signs are fixed: the largest entry of each of the teacher's directions is positive, and each of the student's is
    turned so that its coordinates do not correlate negatively with the teacher's of the same number.

    Attributes:
        label: Where they were read.
        layers: The blocks of the teacher and of the student.
        answers: The correct answer of every prompt.
        teacher: Coordinates of every prompt along the teacher's own directions, in the units of its stream.
        student: The same of the student.
        teacher_variance: Share of the teacher's variance along each of its directions; 0 where nothing varies.
        student_variance: The same of the student.
        shared: The student's outputs along the teacher's directions, centred by its own mean; None where widths
            differ.
        cosines: Absolute cosines between the directions of the two; None where widths differ.
    """

    label: str
    layers: tuple[int, int]
    answers: tuple[str, ...]
    teacher: Float[Tensor, "prompt direction"]
    student: Float[Tensor, "prompt direction"]
    teacher_variance: Float[Tensor, " direction"]
    student_variance: Float[Tensor, " direction"]
    shared: Float[Tensor, "prompt direction"] | None
    cosines: Float[Tensor, "teacher_direction student_direction"] | None

    def to_dict(self) -> dict[str, Any]:
        """Every number, as JSON."""
        return {
            "label": self.label,
            "mlps": [f"MLP{layer}" for layer in self.layers],
            "answers": list(self.answers),
            "teacher": self.teacher.tolist(),
            "student": self.student.tolist(),
            "teacher_variance": self.teacher_variance.tolist(),
            "student_variance": self.student_variance.tolist(),
            "shared": None if self.shared is None else self.shared.tolist(),
            "cosines": None if self.cosines is None else self.cosines.tolist(),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Principal:
    """The directions in which vectors vary most; the largest entry of each is positive.

    Attributes:
        directions: Of length 1, at right angles to each other.
        coordinates: Each vector along them, the mean taken off.
        variance: Share of the variance along each; 0 where nothing varies.
    """

    directions: Float[Tensor, "direction d_model"]
    coordinates: Float[Tensor, "prompt direction"]
    variance: Float[Tensor, " direction"]


def mlp_pca(
    models: tuple[HookedModel, HookedModel],
    batches: tuple[PromptBatch, PromptBatch],
    layers: tuple[int, int],
    *,
    label: str = END,
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
        OptionError: The prompts of the two differ, a layer or the label does not exist, there are not so many
            directions, or there is one prompt only.
    """
    if batches[0].prompt_index != batches[1].prompt_index:
        raise OptionError("The two batches hold different prompts; make them with shared_batches.")
    outputs = [
        mlp_outputs(model, batch, layers=(layer,), label=label)[0]
        for model, batch, layer in zip(models, batches, layers, strict=True)
    ]
    return pca_of_outputs(
        (outputs[0], outputs[1]),
        layers=layers,
        label=label,
        answers=tuple(pair.correct for pair in batches[0].pairs),
        n_directions=n_directions,
    )


def pca_of_outputs(
    outputs: tuple[Float[Tensor, "prompt teacher_d"], Float[Tensor, "prompt student_d"]],
    *,
    layers: tuple[int, int],
    label: str,
    answers: tuple[str, ...],
    n_directions: int,
) -> MlpPca:
    """PCA of outputs that were read before; see `mlp_outputs`.

    Args:
        outputs: The teacher's and the student's, over the same prompts.
        layers: Which block they are of.
        label: Where they were read.
        answers: The correct answer of every prompt.
        n_directions: Directions kept.

    Raises:
        OptionError: There are not so many directions, or there is one prompt only.
    """
    teacher, student = (x.double() for x in outputs)
    if len(teacher) < 2:
        raise OptionError("One prompt does not vary; PCA needs 2 or more. Raise --n-prompts.")
    most = min(*teacher.shape, *student.shape)
    if not 1 <= n_directions <= most:
        raise OptionError(f"{n_directions} directions were asked for; these prompts and widths have 1 to {most}.")
    own, other = principal_directions(teacher, n_directions), principal_directions(student, n_directions)
    turn = torch.where((own.coordinates * other.coordinates).sum(0) < 0, -1.0, 1.0).double()
    alike = teacher.shape[1] == student.shape[1]
    return MlpPca(
        label=label,
        layers=layers,
        answers=answers,
        teacher=own.coordinates.float(),
        student=(other.coordinates * turn).float(),
        teacher_variance=own.variance.float(),
        student_variance=other.variance.float(),
        shared=((student - student.mean(0)) @ own.directions.T).float() if alike else None,
        cosines=(own.directions @ other.directions.T).abs().float() if alike else None,
    )


def principal_directions(vectors: Float[Tensor, "prompt d_model"], n_directions: int) -> Principal:
    """Principal components (scikit-learn, full decomposition) with fixed signs.

    Args:
        vectors: The vectors.
        n_directions: Directions kept; at most as many as there are vectors, and as they are wide.
    """
    x = vectors.double()
    with np.errstate(invalid="ignore"):  # shares of no variance, which are not read
        fitted = PCA(n_components=n_directions, svd_solver="full").fit(x.numpy())
    directions = torch.from_numpy(fitted.components_)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * torch.where(largest < 0, -1.0, 1.0).double()
    centred = x - x.mean(0)
    coordinates = centred @ directions.T
    total = centred.square().sum()
    shares = coordinates.square().sum(0) / total if total > 0 else torch.zeros(n_directions, dtype=torch.float64)
    return Principal(directions=directions, coordinates=coordinates, variance=shares)


def mlp_outputs(
    model: HookedModel,
    batch: PromptBatch,
    *,
    layers: Sequence[int],
    label: str = END,
    batch_size: BatchSize = "auto",
    progress: Progress = silent,
) -> Float[Tensor, "layer prompt d_model"]:
    """What MLPs write at the last token of a label of every clean prompt; END is the answer position.

    Args:
        model: The model.
        batch: The prompts.
        layers: The blocks, read in one run.
        label: Where.
        batch_size: Prompts run at a time, at most.
        progress: Called as prompts are done.

    Raises:
        OptionError: The prompts have no such label, or the model no such layer.
    """
    if label != END and label not in batch.label_positions:
        known = ", ".join(batch.label_positions) or "none"
        raise OptionError(f"The prompts of task {batch.task.name!r} have no label {label!r}; theirs: {known}.")
    where = batch.clean.answer_pos if label == END else batch.label_positions[label]
    out = torch.zeros(len(layers), len(batch.pairs), model.info.d_model)
    done = 0
    for rows in shards(batch, PROMPTS_AT_A_TIME if batch_size == "auto" else batch_size):
        taken = take(batch.clean, rows, model)
        written = model.capture(taken.ids, taken.mask, ("mlp_out",), layers)["mlp_out"]
        own = torch.arange(len(rows), device=model.device)
        for i, layer in enumerate(layers):
            out[i, rows] = written[layer][own, where[rows].to(model.device)].float().cpu()
        done += len(rows)
        progress("MLP outputs", done, len(batch.pairs))
    return out
