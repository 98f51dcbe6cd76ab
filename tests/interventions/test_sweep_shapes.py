"""The sweep against ablation by hand where wrong code could hide behind equal sizes and places."""

import pytest
import torch
from brute_force import ablated_logit_diff, token_batch
from tiny_models import build_raw
from transformers import LlamaConfig, LlamaForCausalLM

from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.sweep import sweep
from circuitkit.models.loading import wrap_model


def check(model, batch, ablation):
    result = sweep(model, batch, ablation=ablation)
    for row, component in enumerate(result.components):
        expected = ablated_logit_diff(model.raw, model.info.family, component, batch, ablation)
        torch.testing.assert_close(result.ablated[row], expected, atol=1e-4, rtol=0, msg=str(component))
    assert (result.ablated - result.clean).abs().max() > 0.01


@pytest.mark.parametrize("ablation", list(Ablation))
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_answers_inside_the_prompt(tiny_models, family, ablation):
    """A mask token has text on both sides: the last layer's other positions do not matter, later tokens do."""
    model = tiny_models[family]
    check(model, token_batch(model.info.vocab_size, [[6, 6, 9], [7, 7]], answer_inside=True), ablation)


@pytest.mark.parametrize("ablation", [Ablation.CORRUPTED_MEAN, Ablation.RESAMPLE])
def test_pooled_partners_of_other_lengths(tiny_model, ablation):
    lengths, other = [[5, 9, 7]], [[8, 4, 11]]
    batch = token_batch(tiny_model.info.vocab_size, lengths, positional=False, corrupted_lengths=other)
    check(tiny_model, batch, ablation)


@pytest.mark.parametrize("ablation", list(Ablation))
def test_heads_wider_than_their_share_of_the_model(tiny_models, ablation):
    """Llama 3.2 and Qwen have head widths that are not d_model / n_heads."""
    like = tiny_models["llama"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        raw = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=like.info.vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, head_dim=12, max_position_embeddings=64,
                initializer_range=0.15, bos_token_id=1, eos_token_id=2, pad_token_id=0,
            )
        )  # fmt: skip
    model = wrap_model(raw, like.tokenizer, name="wide heads")
    assert model.info.d_head == 12
    check(model, token_batch(model.info.vocab_size, [[6, 6, 8]]), ablation)


@pytest.mark.parametrize("ablation", list(Ablation))
def test_as_many_prompts_as_heads_tokens_and_layers(tiny_model, tiny_tokenizers, ablation):
    """Axes of one size can be mixed up without any error of shape."""
    family = tiny_model.info.family
    raw = build_raw(family, vocab_size=len(tiny_tokenizers[family]), n_layers=4)
    model = wrap_model(raw, tiny_tokenizers[family], name="square")
    assert model.info.n_heads == model.info.n_layers == 4
    check(model, token_batch(model.info.vocab_size, [[4] * 4]), ablation)
