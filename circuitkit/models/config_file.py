"""Read a checkpoint's configuration as plain data, before anything is decided on it."""

import json
from importlib.util import find_spec
from typing import Any, cast

from transformers import PreTrainedConfig

from circuitkit.core.errors import ModelError
from circuitkit.models.quiet import quiet
from circuitkit.models.sources import Source
from circuitkit.models.unreadable import UNREADABLE, one_line


def read_config(source: Source) -> dict[str, Any]:
    """Contents of config.json, or what the metadata of a `.gguf` file amount to.

    Raises:
        ModelError: There is none, it cannot be read, or reading GGUF needs a package that is not installed.
    """
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
        raise ModelError(f"{path} is not JSON: {one_line(error)}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no JSON object; wanted a Hugging Face configuration.")
    return cast(dict[str, Any], config)


def _gguf_config(source: Source) -> dict[str, Any]:
    if absent := [package for package in ("gguf", "accelerate") if find_spec(package) is None]:
        raise ModelError(
            f"Model {source.name!r} is a .gguf file, and the package {absent[0]} is not installed; "
            "wanted the extra: pip install 'circuitkit-distill[gguf]'."
        )
    try:
        with quiet():
            config, _ = PreTrainedConfig.get_config_dict(source.folder, gguf_file=source.gguf)
    except UNREADABLE as error:
        raise ModelError(
            f"Model {source.name!r} cannot be read as GGUF: {one_line(error)}; fetch the file again."
        ) from error
    return config
