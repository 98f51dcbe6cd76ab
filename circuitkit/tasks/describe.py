"""What a result says about the prompts behind it."""

from dataclasses import asdict
from typing import Any

from circuitkit.tasks.batch import PromptBatch


def describe_task(batch: PromptBatch) -> dict[str, Any]:
    """Name and hash of the task, how many prompts were used, and every prompt left out with its reason."""
    return {
        "name": batch.task.name,
        "sha256": batch.task.sha256,
        "n_prompts": len(batch.pairs),
        "n_dropped": len(batch.dropped),
        "dropped": [asdict(dropped) for dropped in batch.dropped],
        "labels": sorted(batch.label_positions),
    }
