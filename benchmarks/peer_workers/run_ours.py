"""The sweep, and the two loops that people write by hand: one forward of the whole model for every component."""

from collections.abc import Callable
from functools import partial
from types import EllipsisType

import torch
from serving import Method, serve
from setting import COMPONENTS, D_MODEL, N_HEADS, Place, Setting
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.sweep import sweep
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import load_model
from circuitkit.tasks.batch import PromptBatch, TaskInfo
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.token_block import TokenBlock

WIDTH = D_MODEL // N_HEADS
Kept = dict[object, Tensor]
Where = tuple[EllipsisType | slice | int, ...]
Run = Callable[[Tensor, Place | None, Kept | None], Tensor]


def prompt_batch(setting: Setting) -> PromptBatch:
    """The prompts as the sweep wants them."""
    n, length = setting.clean.shape

    def block(ids: Tensor) -> TokenBlock:
        return TokenBlock(
            ids=ids,
            mask=torch.ones_like(ids, dtype=torch.bool),
            answer_pos=torch.full((n,), length - 1),
            words=torch.arange(length).repeat(n, 1),
        )

    pair = PromptPair(
        clean="a", corrupted="b", correct="c", incorrect="d", template="t", labels={}, corrupted_labels={}
    )
    return PromptBatch(
        task=TaskInfo(name="random", sha256=""),
        pairs=(pair,) * n,
        prompt_index=tuple(range(n)),
        clean=block(setting.clean),
        corrupted=block(setting.corrupted),
        correct_ids=setting.answers[:, 0],
        incorrect_ids=setting.answers[:, 1],
        group=torch.zeros(n, dtype=torch.long),
        positional=True,
        label_positions={},
        dropped=(),
        notices=(),
    )


def replaced(value: Tensor, new: Tensor | None, where: Where) -> Tensor:
    """A part of an activation replaced; by zeros if there is nothing else."""
    value = value.clone()
    value[where] = 0 if new is None else new[where]
    return value


@torch.no_grad()
def loop(setting: Setting, ablation: str, *, capture: Callable[[Tensor], Kept], run: Run) -> Tensor:
    """One forward of the whole model for every component and batch; `capture` keeps what the corrupted prompts give."""
    drops = torch.zeros(len(COMPONENTS))
    for batch in setting.batches():
        kept = capture(batch.corrupted) if ablation == "resample" else None
        clean = batch.logit_diff(run(batch.clean, None, kept))
        for i, component in enumerate(COMPONENTS):
            drops[i] += (clean - batch.logit_diff(run(batch.clean, component, kept))).sum() / len(setting.clean)
    return drops


def bridge_loop(model: HookedModel) -> Method:
    """Hooks of transformer-lens."""
    bridge = model.bridge

    def point(component: Place) -> str:
        layer, head = component
        return f"blocks.{layer}.{'mlp.out.hook_out' if head is None else 'attn.hook_z'}"

    def capture(ids: Tensor) -> Kept:
        kept: Kept = {}

        def keep(value: Tensor, hook: object, name: str) -> None:
            kept[name] = value

        hooks = [(name, partial(keep, name=name)) for name in {point(component) for component in COMPONENTS}]
        bridge.run_with_hooks(ids, attention_mask=torch.ones_like(ids), fwd_hooks=hooks)
        return kept

    def run(ids: Tensor, component: Place | None, kept: Kept | None) -> Tensor:
        hooks = []
        if component is not None:
            name, head = point(component), component[1]
            where = (...,) if head is None else (slice(None), slice(None), head)
            hooks = [(name, lambda value, hook: replaced(value, kept and kept[name], where))]
        return bridge.run_with_hooks(ids, attention_mask=torch.ones_like(ids), fwd_hooks=hooks)[:, -1]

    return partial(loop, capture=capture, run=run)


def raw_loop(model: HookedModel) -> Method:
    """Forward hooks on the Hugging Face modules."""
    raw = model.raw
    projections = [block.attn.c_proj for block in raw.transformer.h]
    mlps = [block.mlp for block in raw.transformer.h]

    def capture(ids: Tensor) -> Kept:
        kept: Kept = {}
        handles = [m.register_forward_hook(lambda m, args, _: kept.update({m: args[0]})) for m in projections]
        handles += [m.register_forward_hook(lambda m, _, out: kept.update({m: out})) for m in mlps]
        raw(ids, use_cache=False)
        for handle in handles:
            handle.remove()
        return kept

    def hook(component: Place, kept: Kept | None) -> RemovableHandle:
        layer, head = component
        if head is None:
            new = kept and kept[mlps[layer]]
            return mlps[layer].register_forward_hook(lambda _m, _a, out: replaced(out, new, (...,)))
        new, where = kept and kept[projections[layer]], (..., slice(head * WIDTH, (head + 1) * WIDTH))
        return projections[layer].register_forward_pre_hook(lambda _, args: (replaced(args[0], new, where),))

    def run(ids: Tensor, component: Place | None, kept: Kept | None) -> Tensor:
        handle = hook(component, kept) if component is not None else None
        logits = raw(ids, use_cache=False).logits
        if handle is not None:
            handle.remove()
        return logits[:, -1]

    return partial(loop, capture=capture, run=run)


def build(setting: Setting) -> dict[str, Method]:
    """Three ways over the same weights."""
    model = load_model(setting.folder, device="cpu")

    def ours(setting: Setting, ablation: str) -> Tensor:
        result = sweep(model, prompt_batch(setting), ablation=Ablation(ablation))
        assert [(c.layer, c.head) for c in result.components] == COMPONENTS
        return (result.clean - result.ablated).mean(1)

    return {
        "sweep (ours)": ours,
        "TransformerBridge hook loop": bridge_loop(model),
        "raw modules' hook loop": raw_loop(model),
    }


if __name__ == "__main__":
    serve(build, packages=("circuitkit-distill", "transformer-lens", "transformers", "torch"))
