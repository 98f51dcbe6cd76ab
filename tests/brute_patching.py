"""Activation patching by hand on raw Hugging Face modules, prompt by prompt without padding, in plain passes.

A part of one head is patched in two passes. The first runs the base prompt with the partner's projection output at the
patched positions, in all heads of the block, and keeps what this one head's values become; the second runs the base
prompt with only these values of this head put in. That is what patching this head's view of a part means.
"""

import copy
from contextlib import ExitStack

import torch
from brute_force import MODULES
from torch import Tensor
from transformers import PreTrainedModel

QKV = {
    "gpt2": ("attn.c_attn",) * 3,
    "bert": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "distilbert": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    "llama": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
}


class Patcher:
    """One pair of prompts (base, partner), of equal length."""

    def __init__(self, raw: PreTrainedModel, family: str, base: Tensor, partner: Tensor) -> None:
        self.raw, self.family, self.base, self.partner = raw, family, base[None], partner[None]
        blocks, self.projection, _ = MODULES[family]
        self.blocks = raw.get_submodule(blocks)
        self.width = getattr(raw.config, "head_dim", None) or raw.config.hidden_size // raw.config.num_attention_heads

    def stream(self, layer: int, where: Tensor) -> Tensor:
        """Logits of the base prompt with the partner's stream behind a block; -1: before the first."""
        kept = []
        with ExitStack() as stack:
            stack.callback(self._on_stream(layer, lambda x: kept.append(x.clone()) or x).remove)
            self._run(self.partner)
        with ExitStack() as stack:
            put = lambda x: torch.where(where[None, :, None], kept[0], x)  # noqa: E731
            stack.callback(self._on_stream(layer, put).remove)
            return self._run(self.base)

    def head_part(self, layer: int, head: int, part: str, where: Tensor) -> Tensor:
        """Logits of the base prompt with a part of one head from its partner."""
        if part == "pattern":
            z = self._pattern_z(layer, head)
            return self._with_z(layer, head, torch.where(where[None, :, None], z, self._z(layer, head, self.base)))
        module = self.blocks[layer].get_submodule(QKV[self.family]["qkv".index(part)])
        columns = slice(None)
        if self.family == "gpt2":
            third = self.raw.config.n_embd
            columns = slice("qkv".index(part) * third, ("qkv".index(part) + 1) * third)
        theirs = self._output(module, self.partner)

        def put(_module, _args, output):
            output = output.clone()
            output[..., columns] = torch.where(where[None, :, None], theirs[..., columns], output[..., columns])
            return output

        handle = module.register_forward_hook(put)
        try:
            z = self._z(layer, head, self.base)
        finally:
            handle.remove()
        return self._with_z(layer, head, z)

    def _pattern_z(self, layer: int, head: int) -> Tensor:
        """The partner's pattern over the base prompt's values."""
        eager = copy.deepcopy(self.raw)
        eager.set_attn_implementation("eager")
        with torch.no_grad():
            pattern = eager(self.partner, output_attentions=True).attentions[layer][:, head]
        values = self._output(self.blocks[layer].get_submodule(QKV[self.family][2]), self.base)
        if self.family == "gpt2":
            values = values[..., 2 * self.raw.config.n_embd :]
        shared = self.raw.config.num_attention_heads // (values.shape[-1] // self.width)
        group = head // shared
        return pattern @ values[..., group * self.width : (group + 1) * self.width]

    def _with_z(self, layer: int, head: int, z: Tensor) -> Tensor:
        def put(_module, args):
            changed = args[0].clone()
            changed[..., head * self.width : (head + 1) * self.width] = z
            return (changed,)

        handle = self.blocks[layer].get_submodule(self.projection).register_forward_pre_hook(put)
        try:
            return self._run(self.base)
        finally:
            handle.remove()

    def _z(self, layer: int, head: int, ids: Tensor) -> Tensor:
        kept = []
        handle = (
            self.blocks[layer]
            .get_submodule(self.projection)
            .register_forward_pre_hook(
                lambda _m, args: kept.append(args[0][..., head * self.width : (head + 1) * self.width].clone())
            )
        )
        try:
            self._run(ids)
        finally:
            handle.remove()
        return kept[0]

    def _output(self, module, ids: Tensor) -> Tensor:
        kept = []
        handle = module.register_forward_hook(lambda _m, _a, output: kept.append(output.clone()))
        try:
            self._run(ids)
        finally:
            handle.remove()
        return kept[0]

    def _on_stream(self, layer: int, act):
        if layer < 0:
            return self.blocks[0].register_forward_pre_hook(lambda _m, args: (act(args[0]), *args[1:]))
        return self.blocks[layer].register_forward_hook(lambda _m, _a, output: act(output))

    @torch.no_grad()
    def _run(self, ids: Tensor) -> Tensor:
        return self.raw(input_ids=ids).logits[0]
