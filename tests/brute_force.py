"""Ablation by hand on raw Hugging Face modules: slow, plain, and sharing no code with the package.

Also batches of random tokens, so that nothing here depends on tasks or tokenizers.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from circuitkit.core.component import Component
from circuitkit.tasks.batch import PromptBatch, TaskInfo
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.token_block import TokenBlock

MODULES = {  # family -> (blocks, output projection that reads z, module that writes the MLP's contribution)
    "gpt2": ("transformer.h", "attn.c_proj", "mlp"),
    "bert": ("bert.encoder.layer", "attention.output.dense", "output.dense"),
    "distilbert": ("distilbert.transformer.layer", "attention.out_lin", "ffn"),
    "llama": ("model.layers", "self_attn.o_proj", "mlp"),
}


def token_batch(
    vocab_size: int,
    lengths: list[list[int]],
    *,
    positional: bool = True,
    seed: int = 0,
    answer_inside: bool = False,
    corrupted_lengths: list[list[int]] | None = None,
) -> PromptBatch:
    """Random prompts; `lengths` holds one list a template: the length of each of its prompts (2 or more).

    `answer_inside` reads the answer in the middle of the prompt, as masked models do; corrupted prompts may have
    other lengths where positions are pooled.
    """
    generator = torch.Generator().manual_seed(seed)
    flat = [(template, length) for template, row in enumerate(lengths) for length in row]
    other = [length for row in corrupted_lengths or lengths for length in row]
    width = max(*other, *(length for _, length in flat))

    def block(sizes: list[int]) -> TokenBlock:
        mask = torch.arange(width)[None] < torch.tensor(sizes)[:, None]
        answer = torch.tensor([size // 2 if answer_inside else size - 1 for size in sizes])
        ids = torch.randint(3, vocab_size, mask.shape, generator=generator) * mask
        return TokenBlock(ids=ids, mask=mask, answer_pos=answer, words=torch.where(mask, torch.arange(width), -1))

    keys = sorted(set(flat))
    pair = PromptPair(
        clean="a b", corrupted="a c", correct=" x", incorrect=" y", template="t", labels={}, corrupted_labels={}
    )
    answers = torch.stack([torch.randperm(vocab_size, generator=generator)[:2] for _ in flat])
    return PromptBatch(
        task=TaskInfo(name="random", sha256="0" * 64),
        pairs=(pair,) * len(flat),
        prompt_index=tuple(range(len(flat))),
        clean=block([length for _, length in flat]),
        corrupted=block(other),
        correct_ids=answers[:, 0],
        incorrect_ids=answers[:, 1],
        group=torch.tensor([keys.index(key) for key in flat]),
        positional=positional,
        label_positions={},
        dropped=(),
        notices=(),
    )


@torch.no_grad()
def forward(raw: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    return raw(input_ids=ids, attention_mask=mask.long()).logits


def read(raw: PreTrainedModel, family: str, component: Component, block: TokenBlock) -> Tensor:
    """A component's activation on every prompt, one prompt at a time without padding: [prompt, pos, width]."""
    kept: list[Tensor] = []
    handle = _place(raw, family, component, lambda value: kept.append(value.clone()))
    try:
        for ids, mask in zip(block.ids, block.mask, strict=True):
            forward(raw, ids[mask][None], mask[mask][None])
    finally:
        handle.remove()
    out = torch.zeros(*block.ids.shape, kept[0].shape[-1])
    for row, value in enumerate(kept):
        out[row, : value.shape[1]] = value[0]
    return out


def replacement_value(
    raw: PreTrainedModel, family: str, component: Component, batch: PromptBatch, ablation: str
) -> Tensor:
    """What stands in for a component, [prompt, pos, width]: the definitions of the four ablations, in loops."""
    block = batch.clean if ablation == "mean" else batch.corrupted
    assert block is not None
    value = read(raw, family, component, block)
    if ablation == "zero":
        return torch.zeros_like(value)
    if ablation == "resample":
        if batch.positional:
            return value
        return torch.stack([value[i][block.mask[i]].mean(0).expand_as(value[i]) for i in range(len(value))])
    if not batch.positional:
        return value[block.mask].mean(0).expand_as(value)
    out = torch.zeros_like(value)
    for row in range(len(value)):
        same = [i for i in range(len(value)) if batch.group[i] == batch.group[row]]
        out[row] = torch.stack([value[i] for i in same]).mean(0)
    return out


def ablated_logit_diff(
    raw: PreTrainedModel, family: str, component: Component | None, batch: PromptBatch, ablation: str
) -> Tensor:
    """Logit difference of every prompt, run alone, with one component replaced (None: nothing replaced)."""
    value = None if component is None else replacement_value(raw, family, component, batch, ablation)
    out = torch.zeros(len(batch.pairs))
    for row in range(len(batch.pairs)):
        mask = batch.clean.mask[row]
        ids = batch.clean.ids[row][mask][None]
        if component is not None and value is not None:
            new = value[row, : ids.shape[1]][None]
            handle = _place(raw, family, component, lambda old, new=new: old.copy_(new))
            try:
                logits = forward(raw, ids, mask[mask][None])
            finally:
                handle.remove()
        else:
            logits = forward(raw, ids, mask[mask][None])
        at = logits[0, batch.clean.answer_pos[row]]
        out[row] = at[batch.correct_ids[row]] - at[batch.incorrect_ids[row]]
    return out


def _place(raw, family, component, act):
    blocks, projection, mlp = MODULES[family]
    block = raw.get_submodule(f"{blocks}.{component.layer}")
    if component.head is None:

        def after(_module, _args, output):
            output = output.clone()
            act(output)
            return output

        return block.get_submodule(mlp).register_forward_hook(after)
    width = getattr(raw.config, "head_dim", None) or raw.config.hidden_size // raw.config.num_attention_heads
    where = slice(component.head * width, (component.head + 1) * width)

    def before(_module, args):
        z = args[0].clone()
        act(z[..., where])
        return (z,)

    return block.get_submodule(projection).register_forward_pre_hook(before)


@torch.no_grad()
def intervened_logits(
    raw: PreTrainedModel,
    family: str,
    edits: dict[Component, tuple[Tensor, Tensor | None]],
    block: TokenBlock,
) -> Tensor:
    """Logits at the answer position of every prompt, run alone, with several components replaced together.

    `edits` holds, by component, new values [prompt, pos, width] and where they go [prompt, pos] (None: everywhere).
    """
    out = []
    for row in range(len(block.ids)):
        mask = block.mask[row]
        handles = []
        for component, (value, where) in edits.items():
            new = value[row][mask][None]
            here = torch.ones_like(mask)[mask][None] if where is None else where[row][mask][None]
            handles.append(
                _place(raw, family, component, lambda old, n=new, h=here: old.copy_(torch.where(h[..., None], n, old)))
            )
        try:
            logits = forward(raw, block.ids[row][mask][None], mask[mask][None])
        finally:
            for handle in handles:
                handle.remove()
        out.append(logits[0, block.answer_pos[row]])
    return torch.stack(out)
