"""Edge ablation by hand on raw Hugging Face modules: prompt by prompt, receiver by receiver, query by query.

Slow and plain; of the package only the names of edges are used. Every receiver's stream is added up from what its
senders write (an edge that is kept) or what replaces it (one that is not), through the LayerNorms on the way where
they follow the additions.
"""

from collections.abc import Set
from math import sqrt

import torch
from brute_force import MODULES, forward, replacement_value
from torch import Tensor, nn
from transformers import PreTrainedModel

from circuitkit.core.component import Component
from circuitkit.core.edge import EMBED, LOGITS, Edge, Receiver, Sender
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock

POST_NORMS = {  # after the attention's contribution is added, and after the MLP's
    "bert": ("attention.output.LayerNorm", "output.LayerNorm"),
    "distilbert": ("sa_layer_norm", "output_layer_norm"),
}
PRE_NORMS = {  # what the attention reads through, and the MLP
    "gpt2": ("ln_1", "ln_2"),
    "llama": ("input_layernorm", "post_attention_layernorm"),
}
QKV = {
    "bert": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "distilbert": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    "llama": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
}


def read_embedding(raw: PreTrainedModel, family: str, block: TokenBlock) -> Tensor:
    """What block 0 reads of every prompt, run alone: [prompt, pos, d_model]."""
    kept: list[Tensor] = []

    def before(_module, args, kwargs):
        kept.append((args[0] if args else kwargs["hidden_states"]).clone())

    handle = raw.get_submodule(MODULES[family][0] + ".0").register_forward_pre_hook(before, with_kwargs=True)
    try:
        for ids, mask in zip(block.ids, block.mask, strict=True):
            forward(raw, ids[mask][None], mask[mask][None])
    finally:
        handle.remove()
    out = torch.zeros(*block.ids.shape, kept[0].shape[-1])
    for row, value in enumerate(kept):
        out[row, : value.shape[1]] = value[0]
    return out


def embedding_replacement(raw: PreTrainedModel, family: str, batch: PromptBatch, ablation: str) -> Tensor:
    """What stands in for the embedding as a sender, [prompt, pos, d_model]: the definitions of `brute_force`."""
    block = batch.clean if ablation == "mean" else batch.corrupted
    assert block is not None
    value = read_embedding(raw, family, block)
    n_prompts = len(value)
    out = torch.zeros_like(value)
    for row in range(n_prompts):
        if ablation == "zero":
            continue
        if ablation == "resample":
            out[row] = value[row] if batch.positional else value[row][block.mask[row]].mean(0)
        elif batch.positional:
            same = [i for i in range(n_prompts) if batch.group[i] == batch.group[row]]
            out[row] = sum(value[i] for i in same) / len(same)
        else:
            out[row] = torch.cat([value[i][block.mask[i]] for i in range(n_prompts)]).mean(0)
    return out


class EdgesByHand:
    """A raw model, prompts and an ablation, ready to be run with any edges kept."""

    def __init__(self, raw: PreTrainedModel, family: str, batch: PromptBatch, ablation: str) -> None:
        self.raw, self.family, self.batch = raw, family, batch
        self.n_layers, self.n_heads = raw.config.num_hidden_layers, raw.config.num_attention_heads
        self.d_head = getattr(raw.config, "head_dim", None) or raw.config.hidden_size // self.n_heads
        self.blocks = raw.get_submodule(MODULES[family][0])
        self.replaced: dict[Sender, Tensor] = {EMBED: embedding_replacement(raw, family, batch, ablation)}
        for layer in range(self.n_layers):
            for head in (*range(self.n_heads), None):
                component = Component(layer, head)
                value = replacement_value(raw, family, component, batch, ablation)
                self.replaced[Sender(component)] = value if head is None else self._write(layer, head, value)
        self.embedding = read_embedding(raw, family, batch.clean)

    @torch.no_grad()
    def logits(self, kept: Set[Edge]) -> Tensor:
        """Logits at the answer position of every prompt with some edges kept, [prompt, vocab]."""
        return torch.stack([self._prompt(row, kept) for row in range(len(self.batch.pairs))])

    def logit_diff(self, kept: Set[Edge]) -> Tensor:
        """Correct minus incorrect answer of every prompt."""
        logits, row = self.logits(kept), torch.arange(len(self.batch.pairs))
        return logits[row, self.batch.correct_ids] - logits[row, self.batch.incorrect_ids]

    def _prompt(self, row: int, kept: Set[Edge]) -> Tensor:
        length = int(self.batch.clean.mask[row].sum())
        replaced = {sender: value[row, :length] for sender, value in self.replaced.items()}
        written = {EMBED: self.embedding[row, :length]}

        def stream(receiver: Receiver, upto: tuple[int, str]) -> Tensor:
            carried = {
                sender: value if Edge(sender, receiver) in kept else replaced[sender]
                for sender, value in written.items()
            }
            return self._fold(carried, upto)

        for layer, block in enumerate(self.blocks):
            new: dict[Sender, Tensor] = {}
            for head in range(self.n_heads):
                component = Component(layer, head)
                inputs = [stream(Receiver(component, name), (layer, "start")) for name in ("q", "k", "v")]
                new[Sender(component)] = self._write(layer, head, self._head(layer, head, *inputs))
            written |= new
            mid = stream(Receiver(Component(layer)), (layer, "mid"))
            written[Sender(Component(layer))] = self._mlp(block, mid)
        last = stream(LOGITS, (self.n_layers, "start"))
        return self._unembed(last[self.batch.clean.answer_pos[row]])

    def _fold(self, carried: dict[Sender, Tensor], upto: tuple[int, str]) -> Tensor:
        """The stream before a block ("start") or between its attention and MLP ("mid"), from all contributions."""
        x = carried[EMBED]
        for layer, block in enumerate(self.blocks):
            if (layer, "start") == upto:
                return x
            for head in range(self.n_heads):
                x = x + carried[Sender(Component(layer, head))]
            bias = block.get_submodule(MODULES[self.family][1]).bias
            x = x if bias is None else x + bias
            if self.family in POST_NORMS:
                x = block.get_submodule(POST_NORMS[self.family][0])(x)
            if (layer, "mid") == upto:
                return x
            x = x + carried[Sender(Component(layer))]
            if self.family in POST_NORMS:
                x = block.get_submodule(POST_NORMS[self.family][1])(x)
        return x

    def _write(self, layer: int, head: int, z: Tensor) -> Tensor:
        """What a head adds to the stream, without the bias that all heads share."""
        weight = self.blocks[layer].get_submodule(MODULES[self.family][1]).weight.detach()
        columns = slice(head * self.d_head, (head + 1) * self.d_head)
        return z @ (weight[columns] if self.family == "gpt2" else weight[:, columns].T)

    def _project(self, layer: int, which: int, head: int, x: Tensor) -> Tensor:
        """Queries (0), keys (1) or values (2) of one head."""
        block = self.blocks[layer]
        if which > 0 and self.family == "llama":
            head = head * self.raw.config.num_key_value_heads // self.n_heads
        columns = slice(head * self.d_head, (head + 1) * self.d_head)
        if self.family == "gpt2":
            joint = block.get_submodule("attn.c_attn")
            width = self.raw.config.hidden_size
            return (x @ joint.weight + joint.bias)[:, which * width : (which + 1) * width][:, columns]
        linear: nn.Module = block.get_submodule(QKV[self.family][which])
        out = x @ linear.weight.T
        return (out if linear.bias is None else out + linear.bias)[:, columns]

    def _head(self, layer: int, head: int, q_in: Tensor, k_in: Tensor, v_in: Tensor) -> Tensor:
        """A head's z, one query at a time."""
        if self.family in PRE_NORMS:
            norm = self.blocks[layer].get_submodule(PRE_NORMS[self.family][0])
            q_in, k_in, v_in = norm(q_in), norm(k_in), norm(v_in)
        q, k, v = (self._project(layer, which, head, x) for which, x in enumerate((q_in, k_in, v_in)))
        if self.family == "llama":
            q, k = self._rotate(q), self._rotate(k)
        out = []
        for position in range(len(q)):
            seen = position + 1 if self.family in PRE_NORMS else len(k)
            weights = torch.softmax(k[:seen] @ q[position] * self._scale(layer), dim=0)
            out.append(weights @ v[:seen])
        return torch.stack(out)

    def _scale(self, layer: int) -> float:
        if self.family != "gpt2":
            return 1 / sqrt(self.d_head)
        scale = 1 / sqrt(self.d_head) if self.raw.config.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.raw.config.scale_attn_by_inverse_layer_idx else scale

    def _rotate(self, x: Tensor) -> Tensor:
        """RoPE by its definition: pairs (i, i + d/2) turned by position times frequency (no frequency scaling)."""
        parameters = self.raw.config.rope_parameters
        assert parameters["rope_type"] == "default"
        half = self.d_head // 2
        frequency = parameters["rope_theta"] ** (-torch.arange(half) / half)
        angle = torch.arange(len(x))[:, None] * frequency
        a, b = x[:, :half], x[:, half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=1)

    def _mlp(self, block: nn.Module, mid: Tensor) -> Tensor:
        if self.family == "bert":
            return block.output.dense(block.intermediate(mid))
        if self.family == "distilbert":
            return block.ffn(mid[None])[0]
        return block.mlp(block.get_submodule(PRE_NORMS[self.family][1])(mid))

    def _unembed(self, last: Tensor) -> Tensor:
        raw = self.raw
        if self.family == "gpt2":
            return raw.lm_head(raw.transformer.ln_f(last))
        if self.family == "llama":
            return raw.lm_head(raw.model.norm(last))
        if self.family == "bert":
            return raw.cls(last)
        return raw.vocab_projector(raw.vocab_layer_norm(raw.activation(raw.vocab_transform(last))))


def edge_logits(raw: PreTrainedModel, family: str, edges_kept: Set[Edge], batch: PromptBatch, ablation: str) -> Tensor:
    """Logits at the answer position, [prompt, vocab], with all edges but some carrying replacement values."""
    return EdgesByHand(raw, family, batch, ablation).logits(edges_kept)
