"""SmolLM2-135M, a pretrained Llama with 9 query and 3 key-value heads, against its raw Hugging Face module."""

import pytest
import raw_hooks
import torch
from einops import einsum, rearrange
from transformers import AutoModelForCausalLM

from circuitkit.models.loading import load_model

pytestmark = pytest.mark.real
PROMPTS = ["Anna lost in 3. Paul lost in 4. Kate lost in 5. Mark lost in", "When Mary and John went to the store, John"]


@pytest.fixture(scope="module")
def model(real_model_dir):
    return load_model(real_model_dir, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def batch(model):
    rows = [model.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows])
    assert not mask.all()
    return ids, mask


@pytest.fixture(scope="module")
def wanted(real_model_dir, batch):
    raw = AutoModelForCausalLM.from_pretrained(real_model_dir, dtype=torch.float32, attn_implementation="eager")
    return raw_hooks.read(raw.eval(), *batch)


def test_info(model):
    info = model.info
    assert (info.family, info.n_layers, info.n_heads, info.n_kv_heads) == ("llama", 30, 9, 3)
    assert (info.d_model, info.d_head, info.d_mlp, info.vocab_size) == (576, 64, 1536, 49152)
    assert info.n_params == 134_515_008


def test_logits_and_what_they_say(model, batch, wanted):
    ids, mask = batch
    last = mask.sum(1) - 1
    got = model.answer_logits(ids, mask, last)
    torch.testing.assert_close(got, wanted["logits"][0][torch.arange(len(ids)), last], rtol=0, atol=1e-4)
    assert model.tokenizer.decode(got[1].argmax()).strip() != ""


def test_points(model, batch, wanted):
    """The residual of the first token is huge, so that the tolerance is relative to each tensor's largest."""
    ids, mask = batch
    got = model.capture(ids, mask, ("resid_pre", "resid_post", "z", "attn_out", "mlp_out", "pattern"))
    for point, found in got.items():
        for layer, tensor in found.items():
            here = rearrange(tensor, "row pos head d -> row pos (head d)") if point == "z" else tensor
            there = wanted[point][layer]
            torch.testing.assert_close(here, there, rtol=0, atol=1e-5 * there.abs().max().item())


def test_heads_add_up(model, batch):
    ids, mask = batch
    got = model.capture(ids, mask, ("z", "attn_out"), layers=[0, 14, 29])
    for layer, z in got["z"].items():
        writes = einsum(z, model.w_o(layer), "row pos head d, head d model -> row pos model")
        torch.testing.assert_close(writes, got["attn_out"][layer], rtol=1e-4, atol=1e-4)


def test_bridge(model, batch, wanted):
    ids, mask = batch
    names = ("attn.hook_z", "mlp.out.hook_out", "attn.o.hook_out")
    with torch.no_grad():
        logits, cache = model.bridge.run_with_cache(
            ids, attention_mask=mask.long(), names_filter=lambda name: name.endswith(names)
        )
    torch.testing.assert_close(logits[mask], wanted["logits"][0][mask], rtol=0, atol=2e-4)
    for layer in (0, 14, 29):
        z = rearrange(cache[f"blocks.{layer}.attn.hook_z"], "row pos head d -> row pos (head d)")
        for here, there in (
            (z, wanted["z"][layer]),
            (cache[f"blocks.{layer}.mlp.out.hook_out"], wanted["mlp_out"][layer]),
            (cache[f"blocks.{layer}.attn.o.hook_out"], wanted["attn_out"][layer]),
        ):
            torch.testing.assert_close(here[mask], there[mask], rtol=0, atol=1e-5 * there[mask].abs().max().item())
