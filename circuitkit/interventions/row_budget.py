"""How many rows fit on the machine at a time, and what happens when they do not."""

from typing import Literal

import psutil
import torch

from circuitkit.core.errors import OptionError
from circuitkit.models.hooked_model import HookedModel

BatchSize = int | Literal["auto"]
MLP_BYTES_ON_CPU = 24 * 2**20
"""One MLP activation of this size keeps the CPU's caches warm and stays below the size (32 MiB) from which the C
library asks the system for new pages at every allocation; it was the best of 4 to 128 MiB on all four families."""
TOKENS_ON_GPU = 2**16
SHARE_OF_FREE_MEMORY = 0.5


class RowBudget:
    """Rows (intervention x prompt) run at a time: from free memory, or as asked; halved when memory is short.

    Args:
        model: The model.
        batch_size: Rows, or `auto`.

    Raises:
        OptionError: The batch size is not positive.
    """

    def __init__(self, model: HookedModel, batch_size: BatchSize) -> None:
        if batch_size != "auto" and batch_size < 1:
            raise OptionError(f"Batch size {batch_size} is not positive; give --batch-size auto or a number from 1 up.")
        self._asked = None if batch_size == "auto" else batch_size
        self._tokens, self._shrink = _tokens_at_a_time(model), 1

    def rows(self, length: int) -> int:
        """Rows of a length in tokens, at least one."""
        whole = self._tokens // length if self._asked is None else self._asked
        return max(1, whole // self._shrink)

    def halve(self) -> None:
        """Half as many from now on."""
        self._shrink *= 2


def _tokens_at_a_time(model: HookedModel) -> int:
    info, size = model.info, torch.finfo(model.dtype).bits // 8
    # residual stream, its norm, queries, keys, values and z, each with one copy in flight; MLP input and gate
    per_token = size * (8 * info.d_model + 4 * info.n_heads * info.d_head + 3 * info.d_mlp)
    best = TOKENS_ON_GPU if model.device.type == "cuda" else MLP_BYTES_ON_CPU // (size * info.d_mlp)
    return max(1, min(best, int(SHARE_OF_FREE_MEMORY * free_memory(model.device)) // per_token))


def free_memory(device: torch.device) -> int:
    """Bytes that are free where a device computes."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
