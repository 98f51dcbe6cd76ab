"""One hookable interface over four families of language models."""

from circuitkit.models.embedded import EMBEDDED, card, embedded_path
from circuitkit.models.family import Family
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.info import ModelInfo
from circuitkit.models.loading import load_model, wrap_model
from circuitkit.models.origin import Origin
from circuitkit.models.precision import in_float32

__all__ = [
    "EMBEDDED",
    "Family",
    "HookedModel",
    "ModelInfo",
    "Origin",
    "card",
    "embedded_path",
    "in_float32",
    "load_model",
    "wrap_model",
]
