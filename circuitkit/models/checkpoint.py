"""Read a checkpoint on disk into a Hugging Face model and tokenizer; every doubt about it is an error."""

import json
import pickle
import re
import struct
from importlib.util import find_spec
from typing import Any, cast

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from circuitkit.core.errors import ModelError
from circuitkit.models.architecture import class_name, unsupported
from circuitkit.models.family import Family
from circuitkit.models.quiet import quiet
from circuitkit.models.sources import Source
from circuitkit.models.supported import FAMILIES

_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# What transformers, safetensors, torch and the GGUF readers were seen to raise on files that are not sound.
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    ImportError,
    EOFError,
    SafetensorError,
    StrictDataclassError,
    pickle.UnpicklingError,
    struct.error,
)
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def read_model(source: Source, dtype: torch.dtype | None) -> tuple[PreTrainedModel, Family]:
    """Load the weights, on the CPU.

    Args:
        source: Where they are.
        dtype: In what precision; None keeps the checkpoint's own.

    Raises:
        ModelError: The checkpoint is of no supported class, lacks or has other parameters than its
            configuration, cannot be read, or would have to run code to be read.
    """
    config_dict = _config_dict(source)
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
                **where,
            )
            raw, report = cast(tuple[PreTrainedModel, dict[str, Any]], loaded)
    except _UNREADABLE as error:
        raise ModelError(f"Model {source.name!r} cannot be read: {_one_line(error)}") from error
    _check_report(report, family, source.name, name)
    return raw, family


def read_tokenizer(source: Source, *, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """Load the tokenizer that lies beside the weights.

    Raises:
        ModelError: There is none, or it cannot be read.
    """
    where: dict[str, Any] = {"gguf_file": source.gguf} if source.gguf else {}
    # Without any file transformers would make an empty tokenizer up.
    if not source.gguf and not any((source.folder / file).is_file() for file in _TOKENIZER_FILES):
        raise ModelError(
            f"Model {source.name!r} has no tokenizer; wanted {' or '.join(_TOKENIZER_FILES)} beside the "
            'weights. Name a model that has it: load_model(..., tokenizer="gpt2").'
        )
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(source.folder, trust_remote_code=trust_remote_code, **where)
    except _UNREADABLE as error:
        raise ModelError(f"The tokenizer of {source.name!r} cannot be read: {_one_line(error)}") from error


def read_inheritance(source: Source) -> dict[int, int] | None:
    """Layer of the student -> layer of the teacher it was initialised from; None where no file says so.

    Raises:
        ModelError: The file is not what `circuitkit_inheritance.json` should be.
    """
    path = source.folder / "circuitkit_inheritance.json"
    if not path.is_file():
        return None
    try:
        layers = json.loads(path.read_text(encoding="utf-8"))["layers"]
        return {int(student): int(teacher) for student, teacher in layers.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f'{path} not understood; wanted {{"teacher": NAME, "layers": {{"0": 0, ...}}}}.') from error


def _config_dict(source: Source) -> dict[str, Any]:
    if source.gguf:
        return _gguf_config(source)
    path = source.folder / "config.json"
    if not path.is_file():
        raise ModelError(f"Model {source.name!r} is a directory without config.json; wanted a Hugging Face checkpoint.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {_one_line(error)}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no JSON object; wanted a Hugging Face configuration.")
    return cast(dict[str, Any], config)


def _gguf_config(source: Source) -> dict[str, Any]:
    if find_spec("gguf") is None:
        raise ModelError(
            f"Model {source.name!r} is a .gguf file, and the package gguf is not installed; "
            "wanted the extra: pip install 'circuitkit-distill[gguf]'."
        )
    try:
        with quiet():
            config, _ = PreTrainedConfig.get_config_dict(source.folder, gguf_file=source.gguf)
    except _UNREADABLE as error:
        raise ModelError(f"Model {source.name!r} cannot be read as GGUF: {_one_line(error)}") from error
    return config


def _check_report(report: dict[str, Any], family: Family, name: str, class_: str) -> None:
    """Anything left at its random initialisation, or left out, makes another model than the one saved."""
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"Model {name!r} lacks {len(missing)} parameters of {class_} (first: {missing[0]}); wanted a "
            "checkpoint saved with its language-model head."
        )
    if mismatched := sorted(report["mismatched_keys"]):
        key, got, wanted = mismatched[0]
        raise ModelError(
            f"Model {name!r}: {key} has shape {tuple(got)}, wanted {tuple(wanted)} from config.json. Mend config.json."
        )
    if extra := sorted(key for key in report["unexpected_keys"] if not re.fullmatch(family.harmless_extras, key)):
        raise ModelError(
            f"Model {name!r} holds {len(extra)} parameters that a {class_} of its config.json does not have "
            f"(first: {extra[0]}); wanted weights and configuration of one model."
        )


def _one_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
