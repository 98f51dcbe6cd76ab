"""Students that lack a head of their teacher, or have one head where it has two; both are to be healed after."""

import copy
from collections.abc import Iterable

import torch
from transformers import PreTrainedModel

from circuitkit.core.component import Component
from circuitkit.core.errors import ModelError
from circuitkit.experiments.battery.exact import Made, same_components
from circuitkit.experiments.battery.layout import BlockLayout, block_layouts, head_slice, sizes_of
from circuitkit.models.family import Sizes


@torch.no_grad()
def silence(raw: PreTrainedModel, heads: Iterable[Component]) -> None:
    """Make heads write nothing, in place: their rows of W_O become 0."""
    sizes, layouts = sizes_of(raw), block_layouts(raw)
    for head in heads:
        place = head_slice(_index(head, sizes), sizes.d_head)
        layouts[head.layer].o.weight[place] = 0


def without_head(teacher: PreTrainedModel, head: Component) -> Made:
    """The teacher with one head that writes nothing.

    Raises:
        ModelError: The teacher has no such head.
    """
    raw = copy.deepcopy(teacher)
    silence(raw, [head])
    return Made(raw=raw, relation=same_components(teacher) | {head: ()})


@torch.no_grad()
def merged_heads(teacher: PreTrainedModel, kept: Component, gone: Component) -> Made:
    """One head does the work of two of its layer: the attention of `kept`, the values and outputs of both.

    What a head moves is W_V W_O; that of the merged head is the best approximation of the sum of both of the rank
    that a head has (Eckart & Young 1936). Heads that share their values are added without loss. Value biases reach
    the output unchanged, since attention sums to 1, and go into the output's bias. `gone` writes nothing.

    Raises:
        ModelError: The teacher has no such heads, they are of different layers or one and the same, or they share
            their values with different heads.
    """
    sizes = sizes_of(teacher)
    one, two = _index(kept, sizes), _index(gone, sizes)
    group = sizes.n_heads // sizes.n_kv_heads
    if kept.layer != gone.layer or one == two or (group > 1 and one // group != two // group):
        raise ModelError(
            f"Heads {kept} and {gone} cannot be merged; wanted two heads of one layer"
            + (f" that share their keys ({group} heads in a row do)." if group > 1 else ".")
        )
    raw = copy.deepcopy(teacher)
    _merge(block_layouts(raw)[kept.layer], one, two, sizes)
    return Made(raw=raw, relation=same_components(teacher) | {kept: (kept, gone), gone: ()})


def _merge(block: BlockLayout, one: int, two: int, sizes: Sizes) -> None:
    keep, drop = head_slice(one, sizes.d_head), head_slice(two, sizes.d_head)
    out = block.o.weight
    if sizes.n_kv_heads < sizes.n_heads:
        out[keep] += out[drop]
        out[drop] = 0
        return
    values = block.v.weight
    if block.v.bias is not None and block.o.bias is not None:
        block.o.bias.add_(block.v.bias[keep] @ out[keep] + block.v.bias[drop] @ out[drop])
        block.v.bias[keep] = 0
    moved = (values[:, keep] @ out[keep] + values[:, drop] @ out[drop]).double()
    left, size, right = torch.linalg.svd(moved)
    root = size[: sizes.d_head].sqrt()
    values[:, keep] = (left[:, : sizes.d_head] * root).to(values.dtype)
    out[keep] = (root[:, None] * right[: sizes.d_head]).to(out.dtype)
    out[drop] = 0


def _index(component: Component, sizes: Sizes) -> int:
    if component.head is None or component.layer >= sizes.n_layers or component.head >= sizes.n_heads:
        raise ModelError(
            f"The teacher has no head {component}; wanted L0H0 to L{sizes.n_layers - 1}H{sizes.n_heads - 1}."
        )
    return component.head
