"""The logit lens by plain hooks on the raw Hugging Face modules."""

import torch
from brute_force import MODULES

HEADS = {
    "gpt2": lambda raw, x: raw.lm_head(raw.transformer.ln_f(x)),
    "bert": lambda raw, x: raw.cls(x),
    "distilbert": lambda raw, x: raw.vocab_projector(raw.vocab_layer_norm(raw.activation(raw.vocab_transform(x)))),
    "llama": lambda raw, x: raw.lm_head(raw.model.norm(x)),
}


@torch.no_grad()
def streams_of(raw, family, ids):
    """The stream before the first block and behind each, and the logits."""
    streams, blocks = [], raw.get_submodule(MODULES[family][0])
    handles = [module.register_forward_hook(lambda _m, _a, output: streams.append(output)) for module in blocks]
    handles.append(blocks[0].register_forward_pre_hook(lambda _m, args: streams.append(args[0])))
    logits = raw(ids).logits
    for handle in handles:
        handle.remove()
    return streams, logits
