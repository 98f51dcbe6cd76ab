"""A `.gguf` file written here, tensor by tensor, gives the logits of the model that it was written from."""

import json

import gguf
import numpy as np
import pytest
import raw_hooks
import torch
from einops import rearrange
from tiny_models import N_HEADS, build_raw

from circuitkit.models.loading import load_model

N_KV_HEADS = 2
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


def interleave(weight, n_heads):
    """llama.cpp rotates neighbouring pairs of a head's channels, Hugging Face halves: q and k rows change places."""
    return rearrange(weight, "(head half pair) d -> (head pair half) d", head=n_heads, half=2)


def undo_interleave(weight, n_heads):
    return rearrange(weight, "(head pair half) d -> (head half pair) d", head=n_heads, half=2)


def gguf_name(name):
    if name.startswith("model.layers."):
        layer, rest = name.removeprefix("model.layers.").split(".", 1)
        return f"blk.{layer}.{NAMES[rest]}"
    return NAMES[name]


def heads_of(name):
    return {"q_proj": N_HEADS, "k_proj": N_KV_HEADS}.get(name.split(".")[-2])


def write(path, raw, tokenizer, kind):
    """Write `raw` as llama.cpp's converter does; `kind` quantises every matrix of a block."""
    config = raw.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(model["vocab"], key=model["vocab"].get))
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    for name, tensor in raw.state_dict().items():
        array = tensor.numpy()
        if heads := heads_of(name):
            array = interleave(array, heads)
        if kind is not None and name.startswith("model.layers.") and array.ndim == 2:
            writer.add_tensor(gguf_name(name), gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name(name), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def round_weights(raw, kind):
    """What quantising and dequantising leaves of the same matrices."""
    for name, parameter in raw.named_parameters():
        if name.startswith("model.layers.") and parameter.ndim == 2:
            heads = heads_of(name)
            array = interleave(parameter.numpy(), heads) if heads else parameter.numpy()
            array = gguf.quants.dequantize(gguf.quants.quantize(np.ascontiguousarray(array), kind), kind)
            parameter.copy_(torch.from_numpy(undo_interleave(array, heads) if heads else array))


@pytest.mark.parametrize("kind", [None, gguf.GGMLQuantizationType.Q8_0])
def test_logits_of_a_gguf_file(kind, tiny_tokenizers, tmp_path, capfd):
    """Dequantising is deterministic, so that only the order of float32 sums is left as a difference: 1e-5."""
    tokenizer = tiny_tokenizers["llama"]
    raw = build_raw("llama", vocab_size=len(tokenizer))
    path = tmp_path / "tiny model.gguf"
    write(path, raw, tokenizer, kind)
    model = load_model(path)
    assert capfd.readouterr() == ("", "")
    ids, mask = raw_hooks.padded_batch(model.info.vocab_size)
    exact = raw(input_ids=ids, attention_mask=mask.long()).logits[:, 2]
    if kind is not None:
        round_weights(raw, kind)
    wanted = raw(input_ids=ids, attention_mask=mask.long()).logits[:, 2]
    got = model.answer_logits(ids, mask, torch.full((len(ids),), 2))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)
    if kind is not None:
        assert 1e-4 < (got - exact).abs().max() < 0.5
    assert model.dtype == torch.float32
    assert (model.info.family, model.info.n_kv_heads, model.info.name) == ("llama", N_KV_HEADS, str(path))
    assert model.tokenizer("When Mary")["input_ids"] == tokenizer("When Mary")["input_ids"]
