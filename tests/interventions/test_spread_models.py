"""A model whose blocks accelerate keeps on disk gives the numbers of the same model in memory."""

import pytest
import torch
from brute_force import token_batch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.sweep import sweep
from circuitkit.models.loading import load_model, wrap_model

ENDS = {  # what is not a block
    "gpt2": ("transformer.wte", "transformer.wpe", "transformer.drop", "transformer.ln_f", "lm_head"),
    "bert": ("bert.embeddings", "cls"),
    "distilbert": ("distilbert.embeddings", "vocab_transform", "vocab_layer_norm", "vocab_projector", "activation"),
    "llama": ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"),
}


@pytest.mark.filterwarnings("ignore:Some parameters are on the meta device")
@pytest.mark.parametrize("family", ENDS)
def test_blocks_on_disk(family, tiny_dirs, tmp_path):
    whole = load_model(tiny_dirs[family])
    places = dict.fromkeys(ENDS[family], "cpu") | {
        f"{whole.family.blocks_path}.{layer}": "disk" if layer else "cpu" for layer in range(whole.info.n_layers)
    }
    kind = AutoModelForCausalLM if whole.is_causal else AutoModelForMaskedLM
    raw = kind.from_pretrained(tiny_dirs[family], device_map=places, offload_folder=tmp_path)
    assert any(parameter.is_meta for parameter in raw.parameters())
    spread = wrap_model(raw, whole.tokenizer, name="spread")
    assert spread.device == torch.device("cpu")
    assert spread.info.weights_sha256 == whole.info.weights_sha256
    batch = token_batch(whole.info.vocab_size, [[6, 6, 9, 9], [7, 12]])
    for ablation in (Ablation.CORRUPTED_MEAN, Ablation.ZERO):
        torch.testing.assert_close(
            sweep(spread, batch, ablation=ablation).ablated,
            sweep(whole, batch, ablation=ablation).ablated,
            atol=1e-5,
            rtol=0,
        )
    torch.testing.assert_close(spread.w_o(1), whole.w_o(1), atol=0, rtol=0)
