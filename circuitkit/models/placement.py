"""Where a model lies and in what precision."""

import torch

from circuitkit.core.errors import OptionError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; mps only when asked for.

    Raises:
        OptionError: Unknown, or not on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise OptionError(f"Device {device!r} not understood; wanted auto, cpu, cuda, cuda:N or mps.") from error
    available = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if chosen.type not in available:
        raise OptionError(f"Device {device!r} is not supported; wanted auto, cpu, cuda, cuda:N or mps.")
    if (chosen.index or 0) >= available[chosen.type]:
        raise OptionError(
            f"Device {device!r} asked for, but torch sees {available[chosen.type]} {chosen.type} devices; "
            "use --device auto."
        )
    return chosen


def choose_dtype(dtype: str) -> torch.dtype | None:
    """None for `auto`: the checkpoint's own.

    Raises:
        OptionError: Unknown.
    """
    if dtype == "auto":
        return None
    if dtype not in _DTYPES:
        raise OptionError(f"Dtype {dtype!r} not understood; wanted auto, {', '.join(_DTYPES)}.")
    return _DTYPES[dtype]
