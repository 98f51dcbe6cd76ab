"""What lies beside the weights: the tokenizer, and where a student comes from."""

import json
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from circuitkit.core.errors import ModelError
from circuitkit.models.origin import Origin
from circuitkit.models.quiet import quiet
from circuitkit.models.sources import Source
from circuitkit.models.unreadable import UNREADABLE, one_line

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


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
    except UNREADABLE as error:
        raise ModelError(
            f"The tokenizer of {source.name!r} cannot be read: {one_line(error)}; wanted intact tokenizer files. "
            'Name a model that has them: load_model(..., tokenizer="gpt2").'
        ) from error


def read_inheritance(source: Source) -> Origin | None:
    """The teacher and the layers that a student was initialised from; None where no file says so.

    Raises:
        ModelError: The file is not what `circuitkit_inheritance.json` should be.
    """
    path = source.folder / "circuitkit_inheritance.json"
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Origin(
            teacher=_text(record["teacher"]),
            teacher_sha256=None if record.get("teacher_sha256") is None else _text(record["teacher_sha256"]),
            layers={int(student): int(teacher) for student, teacher in record["layers"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f'{path} not understood; wanted {{"teacher": NAME, "teacher_sha256": DIGEST or nothing, '
            '"layers": {"0": 0, ...}}.'
        ) from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no string")
    return value
