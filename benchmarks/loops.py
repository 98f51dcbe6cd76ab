"""The two loops that people write by hand: a whole forward pass for every ablated component, to zero."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.interventions.rows import logit_diff
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

ROWS = 32


def _loop(
    model: HookedModel,
    batch: PromptBatch,
    components: Sequence[Component],
    run: Callable[[Component, Tensor, Tensor], Tensor],
) -> Tensor:
    """Logit differences [component, prompt] with `run(component, ids, mask) -> logits` called for every batch."""
    out = torch.zeros(len(components), len(batch.pairs))
    for number, component in enumerate(components):
        for rows in torch.arange(len(batch.pairs)).split(ROWS):
            logits = run(component, batch.clean.ids[rows].to(model.device), batch.clean.mask[rows].to(model.device))
            at = logits[torch.arange(len(rows)), batch.clean.answer_pos[rows]]
            out[number, rows] = logit_diff(at, batch.correct_ids[rows], batch.incorrect_ids[rows]).cpu()
    return out


@torch.no_grad()
def bridge_loop(model: HookedModel, batch: PromptBatch, components: Sequence[Component]) -> Tensor:
    """(a) Hooks of transformer-lens's TransformerBridge."""

    def run(component: Component, ids: Tensor, mask: Tensor) -> Tensor:
        def silence(value: Tensor, hook: object) -> Tensor:
            changed = value.clone()
            changed[:, :, slice(None) if component.head is None else component.head] = 0
            return changed

        point = "mlp.out.hook_out" if component.head is None else "attn.hook_z"
        name = f"blocks.{component.layer}.{point}"
        with model.bridge.hooks(fwd_hooks=[(name, silence)]):
            return model.bridge(ids, attention_mask=mask.long())

    return _loop(model, batch, components, run)


@torch.no_grad()
def raw_loop(model: HookedModel, batch: PromptBatch, components: Sequence[Component]) -> Tensor:
    """(b) Hooks on the raw Hugging Face modules."""
    family, width = model.family, model.info.d_head

    def run(component: Component, ids: Tensor, mask: Tensor) -> Tensor:
        block = family.blocks(model.raw)[component.layer]

        def silence(_module: object, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            z = args[0].clone()
            z[..., component.head * width : (component.head + 1) * width] = 0
            return (z,)

        if component.head is None:
            handle = family.mlp(block).register_forward_hook(lambda _m, _a, out: torch.zeros_like(out))
        else:
            handle = family.out_proj(block).register_forward_pre_hook(silence)
        try:
            return model.raw(input_ids=ids, attention_mask=mask.long(), **family.forward_kwargs).logits
        finally:
            handle.remove()

    return _loop(model, batch, components, run)
