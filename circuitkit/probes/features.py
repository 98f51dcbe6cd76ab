"""Activations that probes read: one vector a prompt and row, where a row is a layer or a head."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.models.capture import Point
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.info import ModelInfo
from circuitkit.probes.readings import Reading

Stream = Literal["resid_pre", "resid_post", "z"]
EMBED = "embed"
"""Name of the baseline row: the stream before the first block, which knows one token and its position."""

_CAPTURE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A place in the model that is probed.

    Attributes:
        name: `embed`, `L3` for a stream or `L3H1` for a head.
        layer: Its block; the baseline has block 0.
        head: Its head; None for a stream.
    """

    name: str
    layer: int
    head: int | None = None


def parse_stream(of: str) -> Stream:
    """What is probed, checked.

    Raises:
        OptionError: There is no such activation.
    """
    if of not in get_args(Stream):
        raise OptionError(f"Activation {of!r} cannot be probed; choose one of {', '.join(get_args(Stream))}.")
    return cast(Stream, of)


def rows_of(info: ModelInfo, of: Stream) -> tuple[Row, ...]:
    """The baseline, then every layer or head in order."""
    baseline = Row(name=EMBED, layer=0)
    if of == "z":
        heads = [(layer, head) for layer in range(info.n_layers) for head in range(info.n_heads)]
        return (baseline, *(Row(name=str(Component(layer, head)), layer=layer, head=head) for layer, head in heads))
    first = 1 if of == "resid_pre" else 0  # before block 0 is the baseline itself
    return (baseline, *(Row(name=f"L{layer}", layer=layer) for layer in range(first, info.n_layers)))


def read_features(
    model: HookedModel, reading: Reading, of: Stream, *, batch_size: int | Literal["auto"] = "auto"
) -> dict[str, Float[Tensor, "prompt width"]]:
    """What every row holds at the reading's positions, in float32 on the CPU.

    Args:
        model: The model.
        reading: Prompts and positions.
        of: Residual stream before or after a block, or the values that heads mix.
        batch_size: Prompts run at a time.
    """
    rows = rows_of(model.info, of)
    parts: dict[str, list[Tensor]] = {row.name: [] for row in rows}
    n, length = reading.ids.shape
    one = 8 * model.info.n_layers * length * max(model.info.d_model, model.info.n_heads * model.info.d_head)
    size = max(1, min(64, _CAPTURE_BYTES // one)) if batch_size == "auto" else batch_size
    points: set[Point] = {"resid_pre", of}
    for start in range(0, n, size):
        some = slice(start, start + size)
        mask = reading.mask[some]
        width = int(mask.sum(1).max())
        found = model.capture(reading.ids[some, :width], mask[:, :width], points)
        at = reading.positions[some].to(model.device)
        each = torch.arange(len(at), device=model.device)
        for row in rows:
            held = found["resid_pre" if row.name == EMBED else of][row.layer]
            held = held if row.head is None else held[:, :, row.head]
            parts[row.name].append(held[each, at].float().cpu())
    return {name: torch.cat(pieces) for name, pieces in parts.items()}
