"""What an error says when memory is short."""

import re

import torch


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory is short, on any device."""
    return isinstance(error, torch.OutOfMemoryError) or bool(
        re.search("can't allocate memory|not enough memory", str(error))
    )
