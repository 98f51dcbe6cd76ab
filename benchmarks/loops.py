"""The two loops that people write by hand: a whole forward pass for every ablated component and 32 prompts.

Prompts come in their own order, each batch padded to its longest; the replacement values are those of the sweep.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.replacement import replacement
from circuitkit.interventions.rows import logit_diff, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

ROWS = 32


def _loop(
    model: HookedModel,
    batch: PromptBatch,
    components: Sequence[Component],
    ablation: Ablation,
    run: Callable[[Component, Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Logit differences [component, prompt] with `run(component, new, ids, mask) -> logits` for every batch."""
    out = torch.zeros(len(components), len(batch.pairs))
    values = replacement(model, batch, ablation)
    for rows in torch.arange(len(batch.pairs)).split(ROWS):
        taken = take(batch.clean, rows, model)
        new = values(rows, taken.ids.shape[1])
        for number, component in enumerate(components):
            layer, head = component.layer, component.head
            there = new.mlp(layer) if head is None else new.z(layer)[:, :, head]
            logits = run(component, there, taken.ids, taken.mask)
            at = logits[torch.arange(len(rows)), taken.answer_pos]
            out[number, rows] = logit_diff(at, batch.correct_ids[rows], batch.incorrect_ids[rows]).cpu()
    return out


@torch.no_grad()
def bridge_loop(model: HookedModel, batch: PromptBatch, components: Sequence[Component], ablation: Ablation) -> Tensor:
    """(a) Hooks of transformer-lens's TransformerBridge."""

    def run(component: Component, new: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        def replace(value: Tensor, hook: object) -> Tensor:
            changed = value.clone()
            changed[:, :, slice(None) if component.head is None else component.head] = new
            return changed

        point = "mlp.out.hook_out" if component.head is None else "attn.hook_z"
        name = f"blocks.{component.layer}.{point}"
        with model.bridge.hooks(fwd_hooks=[(name, replace)]):
            return model.bridge(ids, attention_mask=mask.long())

    return _loop(model, batch, components, ablation, run)


@torch.no_grad()
def raw_loop(model: HookedModel, batch: PromptBatch, components: Sequence[Component], ablation: Ablation) -> Tensor:
    """(b) Hooks on the raw Hugging Face modules."""
    family, width = model.family, model.info.d_head

    def run(component: Component, new: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        block = family.blocks(model.raw)[component.layer]

        def replace(_module: object, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            z = args[0].clone()
            z[..., component.head * width : (component.head + 1) * width] = new
            return (z,)

        if component.head is None:
            handle = family.mlp(block).register_forward_hook(lambda _m, _a, out: new.expand_as(out))
        else:
            handle = family.out_proj(block).register_forward_pre_hook(replace)
        try:
            return model.raw(input_ids=ids, attention_mask=mask.long(), **family.forward_kwargs).logits
        finally:
            handle.remove()

    return _loop(model, batch, components, ablation, run)
