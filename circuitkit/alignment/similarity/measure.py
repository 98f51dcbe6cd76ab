"""From two models and the same prompts to the similarity of all their components."""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.alignment.positions import SharedPositions, share_positions
from circuitkit.alignment.similarity.cka import cka_similarity
from circuitkit.alignment.similarity.eigenvectors import eigenvector_similarity
from circuitkit.alignment.similarity.heads import output_similarity, z_similarity
from circuitkit.alignment.similarity.pattern import pattern_similarity
from circuitkit.alignment.similarity.types import HeadMethod, MlpMethod, Similarity, SimilarityOption
from circuitkit.alignment.summary import ActivationSummary, Need, summarise
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.info import ModelInfo
from circuitkit.tasks.batch import PromptBatch

_HEAD_NEEDS: dict[HeadMethod, tuple[Need, ...]] = {
    "output": ("z",),
    "z": ("z",),
    "pattern": ("pattern",),
    "cka": (),
}


def choose_methods(
    option: SimilarityOption, teacher: ModelInfo, student: ModelInfo
) -> tuple[HeadMethod, MlpMethod, tuple[str, ...]]:
    """How heads and MLPs are to be compared, and what the user must know about it.

    Raises:
        OptionError: The option is undefined between models of these widths.
    """
    widths = f"d_model {teacher.d_model} against {student.d_model}"
    alike = teacher.d_model == student.d_model
    if option in ("output", "z") and not alike:
        raise OptionError(
            f"Similarity {option!r} is undefined between models of different width ({widths}); "
            "use --similarity pattern, cka or auto."
        )
    if option == "z" and teacher.d_head != student.d_head:
        raise OptionError(
            f"Similarity 'z' is undefined between heads of different width (d_head {teacher.d_head} against "
            f"{student.d_head}); use --similarity output, pattern or cka."
        )
    heads: HeadMethod = ("output" if alike else "pattern") if option == "auto" else option
    mlps: MlpMethod = "eigenvectors" if alike and option != "cka" else "cka"
    notices: tuple[str, ...] = ()
    if not alike and option == "auto":
        notices = (f"Widths differ ({widths}): heads are compared by attention pattern, MLPs by CKA.",)
    elif not alike and option == "pattern":
        notices = (f"Widths differ ({widths}): MLPs are compared by CKA.",)
    return heads, mlps, notices


def measure_similarity(
    models: tuple[HookedModel, HookedModel],
    batches: tuple[PromptBatch, PromptBatch],
    *,
    option: SimilarityOption = "auto",
    batch_size: int | Literal["auto"] = "auto",
    progress: Progress = silent,
) -> Similarity:
    """Compare all heads and all MLPs of two models on the clean prompts (Eq. 6 of Distilled Circuits).

    Args:
        models: The teacher and the student.
        batches: The same prompts for either of them.
        option: `output`, `z`, `pattern`, `cka`, or `auto`: `output` where widths agree, else `pattern`.
        batch_size: Prompts run at a time, at most.
        progress: Called as prompts are done.

    Raises:
        OptionError: The option is undefined between these models.
        ModelError: Activations are not finite.
    """
    heads, mlps, notices = choose_methods(option, models[0].info, models[1].info)
    shared = share_positions(*batches)
    if shared.unit == "word":
        notices = (*notices, "The models tokenise differently: activations are averaged over words.")
    summaries = _summaries(models, batches, shared, heads, mlps, batch_size=batch_size, progress=progress)
    cka = partial(cka_similarity, models, batches, shared, batch_size=batch_size, progress=progress)
    found = Similarity(
        heads=cka(kind="head") if heads == "cka" else _head_similarity(heads, models, summaries),
        mlps=cka(kind="mlp") if mlps == "cka" else eigenvector_similarity(*summaries),
        method_heads=heads,
        method_mlps=mlps,
        notices=notices,
    )
    if not bool(torch.isfinite(found.heads).all() and torch.isfinite(found.mlps).all()):
        raise ModelError(
            f"Activations of {models[0].info.name!r} or {models[1].info.name!r} are not finite numbers; "
            "check the weights, or use --dtype float32."
        )
    return found


def _summaries(
    models: tuple[HookedModel, HookedModel],
    batches: tuple[PromptBatch, PromptBatch],
    shared: SharedPositions,
    heads: HeadMethod,
    mlps: MlpMethod,
    *,
    batch_size: int | Literal["auto"],
    progress: Progress,
) -> tuple[ActivationSummary, ActivationSummary]:
    need: tuple[Need, ...] = (*_HEAD_NEEDS[heads], *(("mlp",) if mlps == "eigenvectors" else ()))
    teacher, student = (
        summarise(
            model,
            batch,
            shared,
            need=need,
            batch_size=batch_size,
            stage=f"{side} activations",
            progress=progress,
        )
        for side, model, batch in zip(("teacher", "student"), models, batches, strict=True)
    )
    return teacher, student


def _head_similarity(
    method: HeadMethod,
    models: tuple[HookedModel, HookedModel],
    summaries: tuple[ActivationSummary, ActivationSummary],
) -> Float[Tensor, "teacher_head student_head"]:
    match method:
        case "output":
            return output_similarity(*models, *summaries)
        case "z":
            return z_similarity(*summaries)
        case _:
            return pattern_similarity(*summaries)
