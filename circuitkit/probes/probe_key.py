"""The name under which finished rows of probes are kept: a digest of everything that their numbers depend on."""

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from circuitkit.core.digest import digest
from circuitkit.models.hooked_model import HookedModel
from circuitkit.probes.features import Stream
from circuitkit.probes.question import Question


def probe_key(
    model: HookedModel, question: Question, of: Stream, *, settings: Mapping[str, Any], versions: Mapping[str, str]
) -> str:
    """Digest of the probes of one target in one model.

    Args:
        model: The model.
        question: What is read where, the truth and the folds.
        of: Which activations.
        settings: Options; only those that change a fit count.
        versions: Versions of what computes.
    """
    config = model.raw.config.to_diff_dict()
    reading = question.reading
    return digest(
        {
            "versions": dict(versions),
            "config": {name: value for name, value in config.items() if name != "_name_or_path"},
            "weights": model.info.weights_sha256,
            "dtype": str(model.dtype),
            "device": model.device.type,
            "of": of,
            "metric": question.metric,
            "fit": [settings[name] for name in ("controls", "strength", "seed", "folds")],
            "tensors": [
                _tensor(x)
                for x in (
                    *(reading.ids, reading.mask, reading.positions),
                    *(question.rows, question.classes, question.folds.fold),
                )
            ],
        }
    )


def _tensor(x: Tensor) -> list[Any]:
    return [list(x.shape), hashlib.sha256(x.long().contiguous().numpy().tobytes()).hexdigest()]
