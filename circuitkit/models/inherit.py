"""Students that start from layers of their teacher, and the same students before anything was learned."""

import copy
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from circuitkit.core.errors import ModelError
from circuitkit.models.family import Family
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.supported import FAMILIES

if TYPE_CHECKING:
    import transformers

_BERT_NAMES = (  # DistilBERT's name -> BERT's; the block's number is put in for {}
    (r"distilbert\.embeddings\.(.*)", "bert.embeddings.{rest}"),
    (r"distilbert\.transformer\.layer\.(\d+)\.attention\.q_lin\.(.*)", "attention.self.query.{rest}"),
    (r"distilbert\.transformer\.layer\.(\d+)\.attention\.k_lin\.(.*)", "attention.self.key.{rest}"),
    (r"distilbert\.transformer\.layer\.(\d+)\.attention\.v_lin\.(.*)", "attention.self.value.{rest}"),
    (r"distilbert\.transformer\.layer\.(\d+)\.attention\.out_lin\.(.*)", "attention.output.dense.{rest}"),
    (r"distilbert\.transformer\.layer\.(\d+)\.sa_layer_norm\.(.*)", "attention.output.LayerNorm.{rest}"),
    (r"distilbert\.transformer\.layer\.(\d+)\.ffn\.lin1\.(.*)", "intermediate.dense.{rest}"),
    (r"distilbert\.transformer\.layer\.(\d+)\.ffn\.lin2\.(.*)", "output.dense.{rest}"),
    (r"distilbert\.transformer\.layer\.(\d+)\.output_layer_norm\.(.*)", "output.LayerNorm.{rest}"),
    (r"vocab_transform\.(.*)", "cls.predictions.transform.dense.{rest}"),
    (r"vocab_layer_norm\.(.*)", "cls.predictions.transform.LayerNorm.{rest}"),
    (r"vocab_projector\.(.*)", "cls.predictions.decoder.{rest}"),
)


def source_name(name: str, layers: Mapping[int, int], student: Family, teacher: Family) -> str:
    """Name of the teacher's parameter that a student's parameter is copied from.

    Args:
        name: Parameter of the student.
        layers: Student layer -> teacher layer.
        student: Family of the student.
        teacher: Family of the teacher: the same one, or BERT for a DistilBERT student.

    Raises:
        ModelError: The families do not share parameters.
    """
    if student.name == teacher.name:
        block = re.compile(rf"({re.escape(student.blocks_path)}\.)(\d+)(\..*)")
        return block.sub(lambda found: f"{found[1]}{layers[int(found[2])]}{found[3]}", name)
    if (student.name, teacher.name) != ("distilbert", "bert"):
        raise ModelError(
            f"A {student.name} student cannot start from layers of a {teacher.name} teacher; wanted one family, or "
            "a DistilBERT student of a BERT teacher."
        )
    for pattern, target in _BERT_NAMES:
        if found := re.fullmatch(pattern, name):
            rest = target.format(rest=found[found.lastindex or 0])
            return rest if found.lastindex == 1 else f"{teacher.blocks_path}.{layers[int(found[1])]}.{rest}"
    raise ModelError(f"DistilBERT parameter {name!r} has no counterpart in BERT; this model cannot be initialised.")


@torch.no_grad()
def copy_layers(
    teacher: "transformers.PreTrainedModel",
    student: "transformers.PreTrainedModel",
    layers: Mapping[int, int],
) -> None:
    """Overwrite a student's weights with its teacher's: embeddings, head and the chosen layers.

    A BERT teacher's segment embedding, which DistilBERT lacks, is added to the position embeddings, so that
    nothing that the teacher's first layer reads is lost.

    Args:
        teacher: The teacher.
        student: The student, of the same width; changed in place.
        layers: Student layer -> teacher layer, for every student layer.

    Raises:
        ModelError: The layers do not go with the two models, or a parameter has no counterpart of the same shape.
    """
    families = FAMILIES[type(teacher).__name__], FAMILIES[type(student).__name__]
    n_teacher, n_student = (len(f.blocks(raw)) for f, raw in zip(families, (teacher, student), strict=True))
    if sorted(layers) != list(range(n_student)) or not set(layers.values()) <= set(range(n_teacher)):
        raise ModelError(
            f"Layers {dict(layers)} given for a student of {n_student} layers and a teacher of {n_teacher}; wanted a "
            f"teacher layer from 0 to {n_teacher - 1} for every student layer."
        )
    theirs = teacher.state_dict()
    for name, mine in student.state_dict().items():
        source = source_name(name, layers, families[1], families[0])
        if source not in theirs or theirs[source].shape != mine.shape:
            raise ModelError(
                f"Student parameter {name!r} of shape {tuple(mine.shape)} has no counterpart in the teacher "
                f"(looked for {source!r}); wanted a student of the teacher's width and vocabulary."
            )
        mine.copy_(theirs[source])
        if name == "distilbert.embeddings.position_embeddings.weight":
            mine.add_(theirs["bert.embeddings.token_type_embeddings.weight"][0])


def initialised_only(teacher: HookedModel, student: HookedModel) -> HookedModel:
    """The student as it was before distillation: the teacher's layers by its inheritance map.

    Raises:
        ModelError: The student's inheritance is unknown or names another teacher, or its shapes are not the
            teacher's.
    """
    origin = student.inheritance
    if origin is None or sorted(origin.layers) != list(range(student.info.n_layers)):
        raise ModelError(
            f"It is not known which teacher layer each layer of {student.info.name!r} started from; wanted a "
            "circuitkit_inheritance.json beside its weights."
        )
    if origin.excludes(teacher.info):
        raise ModelError(
            f"{student.info.name!r} says that it was made from {origin.teacher!r}, and the weights of "
            f"{teacher.info.name!r} are others; wanted the teacher that it was made from, in the same dtype."
        )
    if beyond := [layer for layer in origin.layers.values() if layer >= teacher.info.n_layers]:
        raise ModelError(
            f"{student.info.name!r} says that it started from layer {beyond[0]}, but {teacher.info.name!r} has "
            f"{teacher.info.n_layers} layers; wanted the teacher that it was made from."
        )
    raw = copy.deepcopy(student.raw)
    copy_layers(teacher.raw, raw, origin.layers)
    return HookedModel(
        raw=raw,
        tokenizer=student.tokenizer,
        family=student.family,
        name=f"{student.info.name} (initialised, not distilled)",
        inheritance=origin,
    )
