"""Where things are in the raw Hugging Face modules, written out by hand, apart from `circuitkit.models`."""

from contextlib import ExitStack

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def blocks(raw: PreTrainedModel) -> nn.ModuleList:
    return {
        "gpt2": lambda: raw.transformer.h,
        "bert": lambda: raw.bert.encoder.layer,
        "distilbert": lambda: raw.distilbert.transformer.layer,
        "llama": lambda: raw.model.layers,
    }[raw.config.model_type]()


def projection(raw: PreTrainedModel, layer: int) -> nn.Module:
    block = blocks(raw)[layer]
    return {
        "gpt2": lambda: block.attn.c_proj,
        "bert": lambda: block.attention.output.dense,
        "distilbert": lambda: block.attention.out_lin,
        "llama": lambda: block.self_attn.o_proj,
    }[raw.config.model_type]()


def mlp(raw: PreTrainedModel, layer: int) -> nn.Module:
    block = blocks(raw)[layer]
    return {
        "gpt2": lambda: block.mlp.c_proj,
        "bert": lambda: block.output.dense,
        "distilbert": lambda: block.ffn.lin2,
        "llama": lambda: block.mlp.down_proj,
    }[raw.config.model_type]()


@torch.no_grad()
def read(raw: PreTrainedModel, ids: Tensor, mask: Tensor) -> dict[str, list[Tensor]]:
    """One forward pass of the whole model; z keeps its heads side by side. Patterns need eager attention."""
    found = {point: [] for point in ("resid_pre", "resid_post", "z", "attn_out", "mlp_out")}
    with ExitStack() as stack:
        for layer, block in enumerate(blocks(raw)):
            out = projection(raw, layer)
            for handle in (
                block.register_forward_pre_hook(lambda _m, args: found["resid_pre"].append(args[0])),
                block.register_forward_hook(lambda _m, _a, output: found["resid_post"].append(output)),
                out.register_forward_pre_hook(lambda _m, args: found["z"].append(args[0])),
                out.register_forward_hook(lambda _m, _a, output: found["attn_out"].append(output)),
                mlp(raw, layer).register_forward_hook(lambda _m, _a, output: found["mlp_out"].append(output)),
            ):
                stack.callback(handle.remove)
        attentions = raw.config._attn_implementation == "eager"
        result = raw(input_ids=ids, attention_mask=mask.long(), output_attentions=attentions)
    found["pattern"] = list(result.attentions or ())
    found["logits"] = [result.logits]
    return found


def padded_batch(vocab_size: int, *, rows: int = 3, length: int = 10) -> tuple[Tensor, Tensor]:
    """Random tokens, each row a different number of them, padded on the right."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(5, vocab_size, (rows, length), generator=generator)
    lengths = length - 3 * torch.arange(rows)
    mask = torch.arange(length) < lengths[:, None]
    return ids.where(mask, torch.zeros_like(ids)), mask
