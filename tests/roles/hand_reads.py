"""Heads taken apart by hand on raw Hugging Face modules: slow, plain, and sharing no code with the package."""

import copy
import math

import torch
from torch import Tensor
from transformers import PreTrainedModel

BLOCKS = {
    "gpt2": "transformer.h", "bert": "bert.encoder.layer", "distilbert": "distilbert.transformer.layer",
    "llama": "model.layers",
}  # fmt: skip


def blocks(raw: PreTrainedModel):
    return raw.get_submodule(BLOCKS[raw.config.model_type])


@torch.no_grad()
def read(raw: PreTrainedModel, ids: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Streams before every block (and behind the last), eager patterns [head, query, key], and logits of one prompt."""
    eager = copy.deepcopy(raw)
    eager.set_attn_implementation("eager")
    streams: list[Tensor] = []
    for block in blocks(eager):
        block.register_forward_pre_hook(lambda _m, args: streams.append(args[0][0].clone()))
    blocks(eager)[-1].register_forward_hook(lambda _m, _a, output: streams.append(output[0].clone()))
    out = eager(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], output_attentions=True)
    return streams, [pattern[0] for pattern in out.attentions], out.logits[0]


@torch.no_grad()
def value(raw: PreTrainedModel, layer: int, head: int, stream: Tensor) -> Tensor:
    """Values of one query head [pos, d_head] from the stream before a block [pos, d_model]."""
    block, c = blocks(raw)[layer], raw.config
    match c.model_type:
        case "gpt2":
            n = c.n_embd
            width = n // c.n_head
            joint = block.attn.c_attn
            x = torch.nn.functional.layer_norm(stream, (n,), block.ln_1.weight, block.ln_1.bias, c.layer_norm_epsilon)
            columns = slice(2 * n + head * width, 2 * n + (head + 1) * width)
            return x @ joint.weight[:, columns] + joint.bias[columns]
        case "llama":
            norm = block.input_layernorm.weight
            x = norm * stream / torch.sqrt((stream**2).mean(-1, keepdim=True) + c.rms_norm_eps)
            shared = head // (c.num_attention_heads // c.num_key_value_heads)
            return x @ block.self_attn.v_proj.weight[shared * c.head_dim : (shared + 1) * c.head_dim].T
        case "bert":
            linear, width = block.attention.self.value, c.hidden_size // c.num_attention_heads
        case _:
            linear, width = block.attention.v_lin, c.dim // c.n_heads
    part = slice(head * width, (head + 1) * width)
    return stream @ linear.weight[part].T + linear.bias[part]


def out_matrix(raw: PreTrainedModel, layer: int, head: int) -> Tensor:
    """What turns z of one head into its write, [d_head, d_model]."""
    block, family = blocks(raw)[layer], raw.config.model_type
    heads = raw.config.num_attention_heads
    match family:
        case "gpt2":
            weight = block.attn.c_proj.weight
        case "llama":
            weight = block.self_attn.o_proj.weight.T
        case "bert":
            weight = block.attention.output.dense.weight.T
        case _:
            weight = block.attention.out_lin.weight.T
    return weight.detach().chunk(heads)[head]


@torch.no_grad()
def vocabulary(raw: PreTrainedModel, write: Tensor, stream: Tensor) -> Tensor:
    """What one write [d_model] gives to all tokens, with the norm as it is on the final stream [d_model]; no biases."""
    c = raw.config
    match c.model_type:
        case "gpt2":
            scale = math.sqrt(((stream - stream.mean()) ** 2).mean() + c.layer_norm_epsilon)
            return raw.lm_head.weight @ ((write - write.mean()) / scale * raw.transformer.ln_f.weight)
        case "llama":
            return raw.lm_head.weight @ (write / math.sqrt((stream**2).mean() + c.rms_norm_eps) * raw.model.norm.weight)
        case "bert":
            return raw.cls.predictions.decoder.weight @ raw.cls.predictions.transform(write)
        case _:
            hidden = torch.nn.functional.gelu(raw.vocab_transform(write))
            return raw.vocab_projector.weight @ raw.vocab_layer_norm(hidden)


def rows_of(block) -> list[tuple[int, Tensor, int]]:
    """Number, tokens without padding, and answer position of every prompt."""
    return [(row, block.ids[row][block.mask[row]], int(block.answer_pos[row])) for row in range(len(block.ids))]
