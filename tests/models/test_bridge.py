"""Every hook point used, read and edited through transformer-lens, equals hooks placed by hand on the raw modules."""

import inspect

import pytest
import raw_hooks
import torch
from einops import einsum, rearrange
from tiny_models import N_HEADS, build_raw
from transformers import GPT2LMHeadModel

from circuitkit.core.errors import ModelError
from circuitkit.models.loading import wrap_model

EXACT = {"rtol": 0, "atol": 1e-5}
HOOKS = {
    "resid_pre": "hook_resid_pre",
    "resid_post": "hook_resid_post",
    "attn_out": "attn.o.hook_out",
    "mlp_out": "mlp.out.hook_out",
}
LAYER, HEAD = 1, 2


@pytest.fixture
def eager_raw(tiny_model, tiny_tokenizers):
    """The same weights as `tiny_model`, built apart from it."""
    family = tiny_model.info.family
    raw = build_raw(family, vocab_size=len(tiny_tokenizers[family]))
    raw.set_attn_implementation("eager")
    return raw


@pytest.fixture
def batch(tiny_model):
    return raw_hooks.padded_batch(tiny_model.info.vocab_size)


def test_every_point_read_through_the_bridge(tiny_model, eager_raw, batch):
    ids, mask = batch
    wanted = raw_hooks.read(eager_raw, ids, mask)
    with torch.no_grad():
        logits, cache = tiny_model.bridge.run_with_cache(ids, attention_mask=mask.long())
    torch.testing.assert_close(logits[mask], wanted["logits"][0][mask], **EXACT)
    for layer in range(tiny_model.info.n_layers):
        for point, hook in HOOKS.items():
            got = cache[f"blocks.{layer}.{hook}"]
            torch.testing.assert_close(got[mask], wanted[point][layer][mask], **EXACT)
        z = rearrange(cache[f"blocks.{layer}.attn.hook_z"], "row pos head d -> row pos (head d)")
        torch.testing.assert_close(z[mask], wanted["z"][layer][mask], **EXACT)
        pattern = rearrange(cache[f"blocks.{layer}.attn.hook_pattern"], "row head query key -> row query head key")
        raw_pattern = rearrange(wanted["pattern"][layer], "row head query key -> row query head key")
        torch.testing.assert_close(pattern[mask], raw_pattern[mask], **EXACT)


def bridge_logits(model, batch, name, edit):
    ids, mask = batch
    with torch.no_grad():
        return model.bridge.run_with_hooks(
            ids, attention_mask=mask.long(), fwd_hooks=[(f"blocks.{LAYER}.{name}", lambda tensor, hook: edit(tensor))]
        )[mask]


def raw_logits(raw, batch, handle=None):
    ids, mask = batch
    try:
        with torch.no_grad():
            return raw(input_ids=ids, attention_mask=mask.long()).logits[mask]
    finally:
        if handle is not None:
            handle.remove()


def drop_head(z):
    """Take away one head's value mix; [row, pos, head, d_head]."""
    return torch.where(torch.arange(z.shape[2])[:, None] == HEAD, torch.zeros_like(z), z)


def test_edit_of_z(tiny_model, eager_raw, batch):
    def edit(_module, args):
        z = rearrange(args[0], "row pos (head d) -> row pos head d", head=N_HEADS)
        return (rearrange(drop_head(z), "row pos head d -> row pos (head d)"),)

    clean = raw_logits(eager_raw, batch)
    handle = raw_hooks.projection(eager_raw, LAYER).register_forward_pre_hook(edit)
    wanted = raw_logits(eager_raw, batch, handle)
    assert (wanted - clean).abs().max() > 1e-2
    torch.testing.assert_close(bridge_logits(tiny_model, batch, "attn.hook_z", drop_head), wanted, **EXACT)


def test_edit_of_mlp_out(tiny_model, eager_raw, batch):
    clean = raw_logits(eager_raw, batch)
    handle = raw_hooks.mlp(eager_raw, LAYER).register_forward_hook(lambda _m, _a, output: -output)
    wanted = raw_logits(eager_raw, batch, handle)
    assert (wanted - clean).abs().max() > 1e-2
    torch.testing.assert_close(bridge_logits(tiny_model, batch, "mlp.out.hook_out", torch.neg), wanted, **EXACT)


def test_edit_of_pattern(tiny_model, eager_raw, batch):
    """Rolling one head's pattern must give that head the values of the rolled keys."""
    ids, mask = batch

    def roll(pattern):
        rolled = pattern.clone()
        rolled[:, HEAD] = pattern[:, HEAD].roll(1, dims=-1)
        return rolled

    values = {}
    handle = value_projection(eager_raw).register_forward_hook(lambda _m, _a, output: values.update(v=output))
    pattern = raw_hooks.read(eager_raw, ids, mask)["pattern"][LAYER]
    handle.remove()
    v = value_heads(eager_raw, values["v"])
    z = einsum(roll(pattern), v, "row head query key, row key head d -> row query head d")
    clean = raw_logits(eager_raw, batch)
    handle = raw_hooks.projection(eager_raw, LAYER).register_forward_pre_hook(
        lambda _m, _a: (rearrange(z, "row pos head d -> row pos (head d)"),)
    )
    wanted = raw_logits(eager_raw, batch, handle)
    assert (wanted - clean).abs().max() > 1e-3
    torch.testing.assert_close(bridge_logits(tiny_model, batch, "attn.hook_pattern", roll), wanted, **EXACT)


def value_projection(raw):
    block = raw_hooks.blocks(raw)[LAYER]
    return {
        "gpt2": lambda: block.attn.c_attn,
        "bert": lambda: block.attention.self.value,
        "distilbert": lambda: block.attention.v_lin,
        "llama": lambda: block.self_attn.v_proj,
    }[raw.config.model_type]()


def value_heads(raw, v):
    """Values per query head, [row, key, head, d_head]: GPT-2 computes q, k, v at once, Llama shares heads."""
    if raw.config.model_type == "gpt2":
        v = v.chunk(3, dim=-1)[2]
    kv_heads = 2 if raw.config.model_type == "llama" else N_HEADS
    v = rearrange(v, "row key (head d) -> row key head d", head=kv_heads)
    return v.repeat_interleave(N_HEADS // kv_heads, dim=2)


def test_bridge_leaves_the_raw_model_alone_and_follows_its_weights(fresh_raw, tiny_tokenizers, batch_of):
    model = wrap_model(fresh_raw, tiny_tokenizers[fresh_raw.config.model_type], name="fresh")
    ids, mask = batch_of(model)
    modules = [(name, type(module)) for name, module in fresh_raw.named_modules()]
    model.bridge(ids, attention_mask=mask.long())
    assert [(name, type(module)) for name, module in fresh_raw.named_modules()] == modules
    with torch.no_grad():
        raw_hooks.mlp(fresh_raw, 0).weight.mul_(1.5)
        wanted = fresh_raw(input_ids=ids, attention_mask=mask.long()).logits[mask]
        got = model.bridge(ids, attention_mask=mask.long())[mask]
    torch.testing.assert_close(got, wanted, **EXACT)


@pytest.fixture
def batch_of():
    return lambda model: raw_hooks.padded_batch(model.info.vocab_size)


def test_stock_bert_is_left_as_it_is(tiny_models):
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
    from transformer_lens.model_bridge.supported_architectures.bert import BertArchitectureAdapter

    assert tiny_models["bert"].bridge is tiny_models["bert"].bridge
    assert ArchitectureAdapterFactory._adapters["BertForMaskedLM"] is BertArchitectureAdapter


def test_bridge_that_computes_something_else_is_refused(tiny_tokenizers):
    """`scale_attn_weights=False` is a real GPT-2 option that transformer-lens does not read."""
    config = build_raw("gpt2", vocab_size=len(tiny_tokenizers["gpt2"])).config
    config.scale_attn_weights = False
    config.initializer_range = 0.5
    raw = GPT2LMHeadModel(config)
    model = wrap_model(raw, tiny_tokenizers["gpt2"], name="scaled")
    with pytest.raises(ModelError, match="transformer-lens computes other logits than 'scaled'"):
        _ = model.bridge


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("_apply_output_projection", ["self", "attn_output"]),
        ("_apply_attn_dropout", ["self", "attn_weights"]),
        ("_compute_per_head_result", ["self", "z_4d", "n_heads", "d_head"]),
    ],
)
def test_private_methods_that_the_adapters_override_still_exist(method, parameters):
    """When this fails, transformer-lens has changed under us: adapt `encoder_attention.py` before raising the pin."""
    from transformer_lens.model_bridge.generalized_components import JointQKVAttentionBridge

    from circuitkit.models.encoder_attention import BertAttentionBridge, EncoderAttentionBridge

    assert list(inspect.signature(getattr(JointQKVAttentionBridge, method)).parameters) == parameters
    overriding = EncoderAttentionBridge if method == "_apply_attn_dropout" else BertAttentionBridge
    assert method in overriding.__dict__


def test_the_overridden_methods_are_called(tiny_models, monkeypatch):
    from circuitkit.models.encoder_attention import BertAttentionBridge, EncoderAttentionBridge

    called = []
    for owner, method in (
        (BertAttentionBridge, "_apply_output_projection"),
        (EncoderAttentionBridge, "_apply_attn_dropout"),
    ):
        original = getattr(owner, method)
        monkeypatch.setattr(
            owner,
            method,
            lambda self, *args, original=original, method=method: called.append(method) or original(self, *args),
        )
    model = tiny_models["bert"]
    ids, mask = raw_hooks.padded_batch(model.info.vocab_size)
    model.bridge(ids, attention_mask=mask.long())
    assert set(called) == {"_apply_output_projection", "_apply_attn_dropout"}


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_per_head_results_add_up(family, tiny_tokenizers):
    model = wrap_model(
        build_raw(family, vocab_size=len(tiny_tokenizers[family])), tiny_tokenizers[family], name="result"
    )
    ids, mask = raw_hooks.padded_batch(model.info.vocab_size)
    wanted = raw_hooks.read(model.raw, ids, mask)
    model.bridge.set_use_attn_result(True)
    with torch.no_grad():
        logits, cache = model.bridge.run_with_cache(ids, attention_mask=mask.long())
    torch.testing.assert_close(logits[mask], wanted["logits"][0][mask], **EXACT)
    result = cache[f"blocks.{LAYER}.attn.hook_result"].sum(2)
    bias = raw_hooks.projection(model.raw, LAYER).bias
    torch.testing.assert_close((result + bias)[mask], wanted["attn_out"][LAYER][mask], **EXACT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype, fresh_raw, tiny_tokenizers):
    model = wrap_model(fresh_raw.to(dtype), tiny_tokenizers[fresh_raw.config.model_type], name="half")
    ids, mask = raw_hooks.padded_batch(model.info.vocab_size)
    wanted = model.capture(ids, mask, ("z",))["z"][LAYER]
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(ids, attention_mask=mask.long())
    got = cache[f"blocks.{LAYER}.attn.hook_z"]
    assert got.dtype == wanted.dtype == dtype
    torch.testing.assert_close(got[mask], wanted[mask], rtol=0, atol=0.1 * wanted[mask].abs().max().item())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu(tiny_model, tiny_tokenizers):
    raw = build_raw(tiny_model.info.family, vocab_size=tiny_model.info.vocab_size)
    model = wrap_model(raw.cuda(), tiny_tokenizers[tiny_model.info.family], name="cuda")
    assert model.info.weights_sha256 == tiny_model.info.weights_sha256
    ids, mask = raw_hooks.padded_batch(model.info.vocab_size)
    here, there = model.capture(ids, mask, ("z", "pattern")), tiny_model.capture(ids, mask, ("z", "pattern"))
    torch.testing.assert_close(here["z"][LAYER].cpu(), there["z"][LAYER], rtol=0, atol=1e-4)
    positions = mask.sum(1) - 1
    torch.testing.assert_close(
        model.answer_logits(ids, mask, positions).cpu(),
        tiny_model.answer_logits(ids, mask, positions),
        rtol=0,
        atol=1e-3,
    )
    fresh = model.with_random_weights(0)
    assert fresh.info.weights_sha256 == tiny_model.with_random_weights(0).info.weights_sha256
    assert fresh.device.type == "cuda"
