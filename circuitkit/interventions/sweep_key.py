"""The name under which the shards of a sweep are kept: a digest of everything that its numbers depend on."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.digest import digest
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.engine import PROMPTS_PER_SHARD
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


def sweep_key(
    model: HookedModel,
    batch: PromptBatch,
    ablation: Ablation,
    *,
    components: Sequence[Component],
    versions: Mapping[str, str],
) -> str:
    """Digest of a sweep.

    Args:
        model: The model: its weights, configuration, number format and kind of device count.
        batch: The prompts.
        ablation: What replaces an activation.
        components: The components, in order.
        versions: Versions of what computes.
    """
    config = model.raw.config.to_diff_dict()
    blocks = [batch.clean] if batch.corrupted is None else [batch.clean, batch.corrupted]
    return digest(
        {
            "versions": dict(versions),
            "config": {name: value for name, value in config.items() if name != "_name_or_path"},
            "components": [str(c) for c in components],
            "weights": model.info.weights_sha256,
            "family": model.info.family,
            "dtype": str(model.dtype),
            "device": model.device.type,
            "ablation": ablation.value,
            "tokens": [[_tensor(block.ids), _tensor(block.mask)] for block in blocks],
            "answers": [_tensor(x) for x in (batch.clean.answer_pos, batch.correct_ids, batch.incorrect_ids)],
            "groups": [batch.positional, _tensor(batch.group)],
            "shard": PROMPTS_PER_SHARD,
        }
    )


def _tensor(x: Tensor) -> list[Any]:
    """Shape and content of a tensor, whatever its size."""
    return [list(x.shape), hashlib.sha256(x.long().contiguous().numpy().tobytes()).hexdigest()]
