"""Which Hugging Face class a configuration asks for, and whether it can be used."""

from collections.abc import Mapping
from typing import Any

from circuitkit.core.errors import ModelError
from circuitkit.models.embedded import EMBEDDED
from circuitkit.models.supported import FAMILIES

# A pre-training checkpoint holds the whole masked-LM head, and beside it one for next sentences.
_ALSO: Mapping[str, str] = {"BertForPreTraining": "BertForMaskedLM"}
_BY_TYPE: Mapping[str, str] = {
    "gpt2": "GPT2LMHeadModel",
    "bert": "BertForMaskedLM",
    "distilbert": "DistilBertForMaskedLM",
    "llama": "LlamaForCausalLM",
}
_HEADLESS = ("GPT2Model", "BertModel", "DistilBertModel", "LlamaModel")


def class_name(config: Mapping[str, Any], name: str) -> str:
    """The class that the configuration names; where it names none, the one with a head for its `model_type`.

    Args:
        config: Contents of config.json.
        name: What the user typed, for messages.

    Raises:
        ModelError: The class is not supported, or the configuration contradicts itself.
    """
    model_type = config.get("model_type")
    asked: str | None = next(iter(config.get("architectures") or ()), None)
    if asked is not None and asked in _HEADLESS:
        raise ModelError(
            f"Model {name!r} is a {asked}, which has no language-model head; wanted one "
            f"of {', '.join(FAMILIES)}. Load the checkpoint that was saved with its head."
        )
    found = _BY_TYPE.get(str(model_type)) if asked is None else _ALSO.get(asked, asked)
    if found not in FAMILIES:
        raise unsupported(name, asked or f"checkpoint with model_type {model_type!r}")
    if model_type is not None and _BY_TYPE.get(model_type) != found:
        raise ModelError(
            f"Model {name!r}: config.json says architecture {asked} but model_type {model_type!r}; "
            "wanted them to agree. Mend config.json."
        )
    if config.get("is_encoder_decoder"):
        raise unsupported(name, f"{found} with is_encoder_decoder")
    if (method := config.get("quantization_config")) is not None:
        raise ModelError(
            f"Model {name!r} is quantised ({method.get('quant_method', 'unknown method')}); wanted plain "
            "weights. Load the unquantised checkpoint, or a .gguf file, which is dequantised."
        )
    return found


def unsupported(name: str, what: str) -> ModelError:
    """The refusal of a model, with the list of what works."""
    return ModelError(
        f"Model {name!r} is a {what}, which is not supported; wanted one of {', '.join(FAMILIES)}, "
        f"or an embedded model ({', '.join(EMBEDDED)})."
    )
