"""What files that are not sound make their readers raise, and how to say it in one line."""

import struct

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

# What transformers, safetensors, torch and the GGUF readers were seen to raise on files that are not sound.
UNREADABLE = (
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
    struct.error,
)


def one_line(error: BaseException) -> str:
    """What an error says, shortened and without line breaks."""
    said = " ".join(str(error).split())[:200].rstrip(".")
    return f"{type(error).__name__}: {said}" if isinstance(error, LookupError) or not said else said
