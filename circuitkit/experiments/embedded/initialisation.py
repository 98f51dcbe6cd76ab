"""Start a student from some of its teacher's layers (DistilBERT's recipe, transformers' `extract.py`)."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from circuitkit.core.errors import ModelError

_LAYER = re.compile(r"(?<=\.)(h|layers|layer)\.(\d+)(?=\.)")
# DistilBERT's names (prefixes) and BERT's; the layer number is filled in afterwards.
_BERT_NAMES: Mapping[str, str] = {
    "distilbert.embeddings.word_embeddings": "bert.embeddings.word_embeddings",
    "distilbert.embeddings.position_embeddings": "bert.embeddings.position_embeddings",
    "distilbert.embeddings.LayerNorm": "bert.embeddings.LayerNorm",
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
    "vocab_transform": "cls.predictions.transform.dense",
    "vocab_layer_norm": "cls.predictions.transform.LayerNorm",
    "vocab_projector": "cls.predictions.decoder",
}
_POSITIONS = "distilbert.embeddings.position_embeddings.weight"
_SEGMENTS = "bert.embeddings.token_type_embeddings.weight"


def initialise_student(student: PreTrainedModel, teacher: PreTrainedModel, *, layers: Sequence[int]) -> None:
    """Copy embeddings, final norm and head, and for each of the student's layers one of the teacher's, in place.

    A DistilBERT may start from a BERT: it has no segments, so the embedding of BERT's first segment, which every
    position of a single text gets, is added to the position embeddings.

    Args:
        student: Its configuration is the teacher's but for the number of layers.
        teacher: The model to copy from; it is not changed.
        layers: The teacher's layer that each layer of the student starts from.

    Raises:
        ModelError: The layers do not go with the two models, or a weight has no counterpart of the same shape.
    """
    _check_layers(student, teacher, layers)
    source = teacher.state_dict()
    from_bert = student.config.model_type == "distilbert" and teacher.config.model_type == "bert"
    wanted: dict[str, Tensor] = {}
    for name, old in student.state_dict().items():
        key = teacher_name(name, layers=layers, from_bert=from_bert)
        if key not in source or source[key].shape != old.shape:
            has = tuple(source[key].shape) if key in source else "no such weight"
            raise ModelError(
                f"Student weight {name} {tuple(old.shape)} starts from {key}, of which the teacher has {has}; "
                "wanted the teacher's configuration with fewer layers."
            )
        wanted[name] = source[key].clone()
    if from_bert:
        wanted[_POSITIONS] += source[_SEGMENTS][0]
    with torch.no_grad():
        student.load_state_dict(wanted)


def teacher_name(name: str, *, layers: Sequence[int], from_bert: bool = False) -> str:
    """What the teacher calls the weight that one of the student's weights starts from."""
    if from_bert:
        for distilled, original in _BERT_NAMES.items():
            if (at := name.find(distilled)) >= 0:
                name = (
                    name[:at].replace("distilbert.transformer", "bert.encoder") + original + name[at + len(distilled) :]
                )
                break
    return _LAYER.sub(lambda found: f"{found[1]}.{layers[int(found[2])]}", name)


def _check_layers(student: PreTrainedModel, teacher: PreTrainedModel, layers: Sequence[int]) -> None:
    n_student, n_teacher = student.config.num_hidden_layers, teacher.config.num_hidden_layers
    if len(layers) != n_student or any(not 0 <= layer < n_teacher for layer in layers):
        raise ModelError(
            f"Layers {list(layers)} given for a student of {n_student} layers and a teacher of {n_teacher}; "
            f"wanted {n_student} numbers from 0 to {n_teacher - 1}."
        )
