"""The same weights as float32 numbers, for work that rounding must not decide.

A 16-bit weight is a float32 number, so nothing is lost or made up: what changes is that sums and products are no
longer rounded to 8 or 11 bits, whatever else runs beside them in a batch.
"""

import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.memory import is_out_of_memory
from circuitkit.models.hooked_model import HookedModel

if TYPE_CHECKING:
    import transformers

_WIDE = torch.float32


def is_narrow(dtype: torch.dtype) -> bool:
    """Whether a number format is narrower than float32."""
    return torch.finfo(dtype).bits < torch.finfo(_WIDE).bits


def dtype_name(dtype: torch.dtype) -> str:
    """`float32`, `bfloat16` and so on."""
    return str(dtype).removeprefix("torch.")


def in_float32(model: HookedModel) -> HookedModel:
    """A copy of a 16-bit model that computes in float32, on the same device; a wider model itself.

    The given model is left as it is. The copy takes twice its memory, and says in `stored_dtype` what it was made
    from. Its numbers and its digest are those of the same checkpoint loaded in float32.

    Args:
        model: The model.

    Raises:
        OptionError: The model lies on several devices.
        ModelError: There is not enough memory for a copy.
    """
    if not is_narrow(model.dtype):
        return model
    check_copyable(model)
    try:
        raw = _wide_copy(model.raw)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        narrow = dtype_name(model.dtype)
        raise ModelError(
            f"A float32 copy of model {model.info.name!r} does not fit on {model.device} beside it; use --device cpu, "
            f"or compute in {narrow} with --dtype {narrow} (in Python as_loaded=True)."
        ) from error
    return HookedModel(
        raw=raw,
        tokenizer=model.tokenizer,
        family=model.family,
        name=model.info.name,
        revision=model.info.revision,
        inheritance=model.inheritance,
        stored_dtype=model.dtype,
    )


def check_copyable(model: HookedModel) -> None:
    """Refuse a 16-bit model of which no float32 copy can be made.

    Raises:
        OptionError: accelerate keeps it on several devices, or outside its modules.
    """
    places = set(cast(dict[str, Any], getattr(model.raw, "hf_device_map", {})).values())
    outside = any(tensor.is_meta for tensor in (*model.raw.parameters(), *model.raw.buffers()))
    if is_narrow(model.dtype) and (len(places) > 1 or outside):
        raise OptionError(
            f"Model {model.info.name!r} is spread over {', '.join(sorted(map(str, places)))} in "
            f'{dtype_name(model.dtype)}, and no float32 copy of it can be made; load it with dtype="float32" '
            "(--dtype float32), or give as_loaded=True."
        )


def widen(raw: "transformers.PreTrainedModel") -> None:
    """Turn the weights of a 16-bit model into float32 numbers in place, one after the other."""
    cast(nn.Module, raw).float()
    raw.config.dtype = _WIDE


def _wide_copy(raw: "transformers.PreTrainedModel") -> "transformers.PreTrainedModel":
    """Weights are copied once, straight to float32; tied ones stay tied."""
    narrow = [t for t in (*raw.parameters(), *raw.buffers()) if t.is_floating_point() and is_narrow(t.dtype)]
    out = copy.deepcopy(raw, memo=cast(dict[int, Any], {id(tensor): _wide(tensor) for tensor in narrow}))
    out.config.dtype = _WIDE
    return out


def _wide(tensor: Tensor) -> Tensor:
    wide = tensor.detach().to(_WIDE)
    return nn.Parameter(wide, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else wide
