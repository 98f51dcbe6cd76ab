"""Load a model by name, directory or file, or wrap one that is already in memory."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from circuitkit.core.errors import ModelError
from circuitkit.core.memory import is_out_of_memory
from circuitkit.models.architecture import unsupported
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.placement import choose_device, choose_dtype
from circuitkit.models.precision import is_narrow, widen
from circuitkit.models.sources import locate
from circuitkit.models.supported import FAMILIES
from circuitkit.models.weights import check_finite

if TYPE_CHECKING:
    import transformers


def load_model(
    name: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    widened: bool = False,
    tokenizer: str | None = None,
    trust_remote_code: bool = False,
    offline: bool = False,
) -> HookedModel:
    """Load a GPT-2, BERT, DistilBERT or Llama language model.

    Args:
        name: Hub id (fetched, or taken from the hub's cache), directory, `.gguf` file (dequantised; needs the
            extra `gguf`), or the name of an embedded model.
        device: `auto` (CUDA where there is one, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.
        dtype: `auto` (the checkpoint's own; float32 for embedded models and `.gguf` files), `float32`,
            `bfloat16` or `float16`. `discover` computes in float32 on a 16-bit model all the same, unless told not to.
        widened: Keep 16-bit weights as the same numbers in float32: what `discover` would make a copy for. The model
            remembers in `stored_dtype` what they were.
        tokenizer: Model whose tokenizer is used instead, named like `name`.
        trust_remote_code: Let the tokenizer's repository run its own code. The model's class never comes from
            the repository, and weights are read from safetensors, or from `.bin` files without running code.
        offline: Take a hub id from the hub's cache only.

    Raises:
        ModelError: The model is not found, not supported, or its files are not sound.
        OptionError: Device or dtype is unknown or not available.
    """
    place, precision = choose_device(device), choose_dtype(dtype)
    source = locate(name, offline=offline)
    # transformers takes seconds to import: only once a checkpoint is really to be read.
    from circuitkit.models.beside_weights import read_inheritance, read_tokenizer
    from circuitkit.models.checkpoint import read_model

    if precision is None and (source.embedded or source.gguf):
        precision = torch.float32
    raw, family = read_model(source, precision)
    check_finite(raw, source.name)
    stored = raw.dtype if widened and is_narrow(raw.dtype) else None
    words = read_tokenizer(source if tokenizer is None else locate(tokenizer), trust_remote_code=trust_remote_code)
    _check_tokenizer(words, raw, source.name)
    try:
        if stored is not None:
            widen(raw)
        cast(nn.Module, raw).to(place)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"Model {source.name!r} does not fit on {place}; use --device cpu or --dtype bfloat16."
        ) from error
    return HookedModel(
        raw=raw,
        tokenizer=words,
        family=family,
        name=source.name,
        revision=source.revision,
        inheritance=read_inheritance(source),
        stored_dtype=stored,
    )


def wrap_model(
    raw: "transformers.PreTrainedModel", tokenizer: "transformers.PreTrainedTokenizerBase", *, name: str
) -> HookedModel:
    """Wrap a Hugging Face model that is already in memory; it is put in eval mode with sdpa attention.

    Args:
        raw: The model, on the device and in the dtype that are wanted.
        tokenizer: Its tokenizer.
        name: What to call it in results.

    Raises:
        ModelError: The model is not supported, or its weights are not finite.
    """
    family = FAMILIES.get(type(raw).__name__)
    if family is None:
        raise unsupported(name, type(raw).__name__)
    if why := family.refusal(raw.config):
        raise unsupported(name, f"{type(raw).__name__} that {why}")
    check_finite(raw, name)
    _check_tokenizer(tokenizer, raw, name)
    return HookedModel(raw=raw, tokenizer=tokenizer, family=family, name=name)


def _check_tokenizer(
    tokenizer: "transformers.PreTrainedTokenizerBase", raw: "transformers.PreTrainedModel", name: str
) -> None:
    family = FAMILIES[type(raw).__name__]
    vocab_size = family.sizes(raw.config).vocab_size
    if tokenizer.vocab_size > vocab_size:
        raise ModelError(
            f"Model {name!r} has {vocab_size} tokens and its tokenizer {tokenizer.vocab_size}; wanted the "
            "tokenizer that it was trained with."
        )
    if not family.is_causal and tokenizer.mask_token_id is None:
        raise ModelError(f"Masked language model {name!r} has a tokenizer without mask token; wanted one with [MASK].")
