"""Activations, logits and laws of `HookedModel`, against hooks placed by hand on the raw modules."""

import copy

import pytest
import raw_hooks
import torch
from einops import einsum, rearrange
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import D_MODEL, N_HEADS, N_LAYERS, build_raw

from circuitkit.core.errors import ModelError, OptionError
from circuitkit.models.attention import allowed, attend, rotate_heads
from circuitkit.models.loading import wrap_model

POINTS = ("resid_pre", "resid_post", "z", "attn_out", "mlp_out")
EXACT = {"rtol": 0, "atol": 1e-5}


def test_points_equal_hand_placed_hooks(tiny_model):
    ids, mask = raw_hooks.padded_batch(tiny_model.info.vocab_size)
    wanted = raw_hooks.read(tiny_model.raw, ids, mask)
    got = tiny_model.capture(ids, mask, POINTS)
    for point in POINTS:
        assert list(got[point]) == list(range(tiny_model.info.n_layers))
        for layer, tensor in got[point].items():
            flat = rearrange(tensor, "row pos head d -> row pos (head d)") if point == "z" else tensor
            torch.testing.assert_close(flat, wanted[point][layer], **EXACT)


def test_pattern_equals_eager_attentions(tiny_model, tiny_tokenizers):
    family = tiny_model.info.family
    ids, mask = raw_hooks.padded_batch(tiny_model.info.vocab_size)
    raw = build_raw(family, vocab_size=len(tiny_tokenizers[family]))
    raw.set_attn_implementation("eager")
    wanted = raw_hooks.read(raw, ids, mask)
    got = tiny_model.capture(ids, mask, ("pattern", "z"))
    for layer in range(tiny_model.info.n_layers):
        torch.testing.assert_close(got["pattern"][layer], wanted["pattern"][layer], **EXACT)
        z = rearrange(got["z"][layer], "row pos head d -> row pos (head d)")
        torch.testing.assert_close(z, wanted["z"][layer], **EXACT)
    assert tiny_model.raw.config._attn_implementation == "sdpa"


def test_only_asked_layers_are_kept_and_no_hook_stays(tiny_model):
    ids, mask = raw_hooks.padded_batch(tiny_model.info.vocab_size)
    got = tiny_model.capture(ids, mask, ("z", "pattern"), layers=[1])
    assert {point: list(found) for point, found in got.items()} == {"z": [1], "pattern": [1]}
    for module in (*tiny_model.raw.modules(), *tiny_model._eager.modules()):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_hooks_go_even_when_the_forward_fails(tiny_model):
    ids, mask = raw_hooks.padded_batch(tiny_model.info.vocab_size)
    with pytest.raises(IndexError):
        tiny_model.capture(ids + 10**6, mask, ("z",))
    assert not any(module._forward_pre_hooks for module in tiny_model.raw.modules())


def test_layer_that_does_not_exist_is_refused(tiny_model):
    ids, mask = raw_hooks.padded_batch(tiny_model.info.vocab_size)
    with pytest.raises(OptionError, match="Layer 9 asked"):
        tiny_model.capture(ids, mask, ("z",), layers=[9])


def test_answer_logits_equal_the_full_forward(tiny_model):
    ids, mask = raw_hooks.padded_batch(tiny_model.info.vocab_size)
    positions = mask.sum(1) - 1
    wanted = raw_hooks.read(tiny_model.raw, ids, mask)["logits"][0][torch.arange(len(ids)), positions]
    torch.testing.assert_close(tiny_model.answer_logits(ids, mask, positions), wanted, **EXACT)


def test_padding_changes_nothing(tiny_model):
    ids, mask = raw_hooks.padded_batch(tiny_model.info.vocab_size)
    short = int(mask[-1].sum())
    row, whole = ids[-1:, :short], torch.ones(1, short, dtype=torch.bool)
    last = torch.tensor([short - 1])
    wanted = tiny_model.answer_logits(row, whole, last)
    got = tiny_model.answer_logits(ids, mask, mask.sum(1) - 1)[-1:]
    torch.testing.assert_close(got, wanted, **EXACT)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_heads_add_up_to_the_attention_output(tiny_model, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, tiny_model.info.vocab_size, (2, 7), generator=generator)
    got = tiny_model.capture(ids, torch.ones_like(ids, dtype=torch.bool), ("z", "attn_out"))
    for layer, block in enumerate(tiny_model.family.blocks(tiny_model.raw)):
        writes = einsum(got["z"][layer], tiny_model.w_o(layer), "row pos head d, head d model -> row pos model")
        bias = tiny_model.family.out_bias(block)
        torch.testing.assert_close(writes if bias is None else writes + bias, got["attn_out"][layer], **EXACT)


def test_family_rebuilds_the_forward_from_its_parts(tiny_model):
    """Norms, attention, MLP and head, called one by one, must give what the raw forward gives."""
    family, raw = tiny_model.family, tiny_model.raw
    ids, mask = raw_hooks.padded_batch(tiny_model.info.vocab_size)
    wanted = raw_hooks.read(raw, ids, mask)
    torch.testing.assert_close(family.embed(raw, ids)[mask], wanted["resid_pre"][0][mask], **EXACT)
    may = allowed(mask, is_causal=family.is_causal, first_query=0)
    rotary, d_head = family.rotary(raw, ids), tiny_model.info.d_head
    tokens = mask[..., None]  # what stands at padding has no meaning
    for layer, block in enumerate(family.blocks(raw)):
        x = wanted["resid_pre"][layer]
        read = family.attention_norm(block, x)
        keys, values = family.keys_values(block, read)
        z = attend(
            rotate_heads(family.queries(block, read), rotary, d_head=d_head),
            rotate_heads(keys, rotary, d_head=d_head),
            values,
            d_head=d_head,
            scaling=family.scaling(block),
            mask=may,
        )
        attn_out = family.out_proj(block)(z.flatten(2))
        torch.testing.assert_close(attn_out * tokens, wanted["attn_out"][layer] * tokens, **EXACT)
        mid = family.mid(block, x, attn_out)
        mlp_out = family.mlp_out(block, mid)
        torch.testing.assert_close(mlp_out * tokens, wanted["mlp_out"][layer] * tokens, **EXACT)
        rebuilt = family.close(block, mid, mlp_out)
        torch.testing.assert_close(rebuilt * tokens, wanted["resid_post"][layer] * tokens, **EXACT)
    rows = torch.arange(len(ids))
    resid = wanted["resid_post"][-1][rows, 2]
    logits = wanted["logits"][0][rows, 2]
    torch.testing.assert_close(family.unembed(raw, resid), logits, **EXACT)
    some = torch.tensor([[5, 9]] * len(ids))
    torch.testing.assert_close(family.unembed_tokens(raw, resid, some), logits.gather(1, some), **EXACT)


def test_info(tiny_model):
    info, raw = tiny_model.info, tiny_model.raw
    assert (info.n_layers, info.n_heads, info.d_model) == (N_LAYERS[info.family], N_HEADS, D_MODEL)
    assert info.n_kv_heads == (2 if info.family == "llama" else 4)
    assert info.d_head * info.n_heads == info.d_model
    assert info.d_mlp == (96 if info.family == "llama" else 128)
    assert info.max_length == 64
    assert info.vocab_size == raw.get_output_embeddings().weight.shape[0]
    assert info.n_params == raw.num_parameters()
    assert tiny_model.family.pre_norm == (info.family in ("gpt2", "llama"))
    assert [str(c) for c in tiny_model.components[:2]] == ["L0H0", "L0H1"]
    assert len(tiny_model.components) == info.n_layers * 5


def test_digest_sees_one_changed_weight_and_ties(tiny_model, tiny_tokenizers):
    family = tiny_model.info.family
    raw = build_raw(family, vocab_size=len(tiny_tokenizers[family]))
    same = wrap_model(raw, tiny_tokenizers[family], name="again")
    assert same.info.weights_sha256 == tiny_model.info.weights_sha256
    with torch.no_grad():
        next(raw.parameters()).view(-1)[3] += 1e-3
    other = wrap_model(raw, tiny_tokenizers[family], name="changed")
    assert other.info.weights_sha256 != tiny_model.info.weights_sha256


def test_random_weights_are_seeded_fresh_and_leave_the_global_generator_alone(tiny_model):
    state = torch.get_rng_state()
    first, again, other = (tiny_model.with_random_weights(seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.info.weights_sha256 == again.info.weights_sha256
    assert len({m.info.weights_sha256 for m in (first, other, tiny_model)}) == 3
    assert first.raw.config.to_dict() == tiny_model.raw.config.to_dict()
    assert first.info.n_params == tiny_model.info.n_params
    assert (first.dtype, first.device) == (tiny_model.dtype, tiny_model.device)
    tied = tiny_model.raw.get_output_embeddings().weight is tiny_model.raw.get_input_embeddings().weight
    assert (first.raw.get_output_embeddings().weight is first.raw.get_input_embeddings().weight) == tied
    assert not first.raw.training


def test_random_weights_keep_the_dtype(tiny_models):
    model = tiny_models["llama"]
    half = wrap_model(copy.deepcopy(model.raw).to(torch.bfloat16), model.tokenizer, name="half")
    assert half.with_random_weights(0).dtype == torch.bfloat16


def test_eager_clone_shares_the_weights(tiny_model):
    clone = tiny_model.eager_clone()
    for (name, original), (other, shared) in zip(
        tiny_model.raw.named_parameters(), clone.named_parameters(), strict=True
    ):
        assert name == other
        assert original is shared
    assert clone.config._attn_implementation == "eager"
    assert tiny_model.raw.config._attn_implementation == "sdpa"


def test_nan_weights_are_refused_by_name(fresh_raw, tiny_tokenizers):
    name, parameter = sorted(fresh_raw.named_parameters())[4]
    with torch.no_grad():
        parameter.view(-1)[0] = float("nan")
    with pytest.raises(ModelError, match=rf"{name} holds 1 NaN or infinite values"):
        wrap_model(fresh_raw, tiny_tokenizers[fresh_raw.config.model_type], name="broken")


def test_repr_is_one_line(tiny_model):
    assert "\n" not in repr(tiny_model)
    assert tiny_model.info.name in repr(tiny_model)
