"""Read a checkpoint on disk into a Hugging Face model; every doubt about it is an error."""

import pickle
import re
from typing import Any, cast

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

from circuitkit.core.errors import ModelError
from circuitkit.models.architecture import class_name, unsupported
from circuitkit.models.config_file import read_config
from circuitkit.models.family import Family
from circuitkit.models.quiet import quiet
from circuitkit.models.sources import Source
from circuitkit.models.supported import FAMILIES
from circuitkit.models.unreadable import UNREADABLE, one_line

_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def read_model(source: Source, dtype: torch.dtype | None) -> tuple[PreTrainedModel, Family]:
    """Load the weights, on the CPU.

    Args:
        source: Where they are.
        dtype: In what precision; None keeps the checkpoint's own.

    Raises:
        ModelError: The checkpoint is of no supported class, lacks or has other parameters than its
            configuration, cannot be read, or would have to run code to be read.
    """
    config_dict = read_config(source)
    name = class_name(config_dict, source.name)
    family = FAMILIES[name]
    model_class: type[PreTrainedModel] = getattr(transformers, name)
    where: dict[str, Any] = {"gguf_file": source.gguf} if source.gguf else {}
    if not source.gguf and not any((source.folder / file).is_file() for file in _WEIGHT_FILES):
        raise ModelError(f"Model {source.name!r} has no weights; wanted {_WEIGHT_FILES[0]} beside config.json.")
    try:
        with quiet():
            config_class = cast(type[PreTrainedConfig], model_class.config_class)
            config = config_class.from_pretrained(source.folder, **where)
            if why := family.refusal(config):
                raise unsupported(source.name, f"{name} that {why}")
            loaded = model_class.from_pretrained(
                source.folder,
                config=config,
                dtype="auto" if dtype is None else dtype,
                attn_implementation="sdpa",
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                weights_only=True,
                trust_remote_code=False,
                **where,
            )
            raw, report = cast(tuple[PreTrainedModel, dict[str, Any]], loaded)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"Model {source.name!r}: its .bin weights are broken, or would have to run code to be read; "
            "wanted plain tensors. Save the checkpoint as safetensors."
        ) from error
    except UNREADABLE as error:
        raise ModelError(
            f"Model {source.name!r} cannot be read: {one_line(error)}; wanted an intact checkpoint. "
            "Fetch or save it again."
        ) from error
    _check_report(report, family, source.name, name)
    return raw, family


def _check_report(report: dict[str, Any], family: Family, name: str, class_: str) -> None:
    """Anything left at its random initialisation, or left out, makes another model than the one saved."""
    if missing := sorted(report["missing_keys"]):
        in_blocks = [key for key in missing if key.startswith(f"{family.blocks_path}.")]
        wanted = "as many blocks as config.json says" if in_blocks else "weights saved with their language-model head"
        raise ModelError(
            f"Model {name!r} lacks parameters of {class_} ({len(missing)}, first: {missing[0]}); wanted {wanted}."
        )
    if mismatched := sorted(report["mismatched_keys"]):
        key, got, wanted = mismatched[0]
        raise ModelError(
            f"Model {name!r}: {key} has shape {tuple(got)}, wanted {tuple(wanted)} from config.json. Mend config.json."
        )
    if extra := sorted(key for key in report["unexpected_keys"] if not re.fullmatch(family.harmless_extras, key)):
        raise ModelError(
            f"Model {name!r} holds parameters that a {class_} of its config.json does not have "
            f"({len(extra)}, first: {extra[0]}); wanted weights and configuration of one model."
        )
