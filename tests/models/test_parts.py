"""Norm, rotation and activations in few passes against what transformers computes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from circuitkit.models.activation import activate
from circuitkit.models.rms_norm import rms_norm
from circuitkit.models.rotary import Rotary


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([1e-6, 1.0, 1e4]))
def test_rms_norm(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    norm = LlamaRMSNorm(24, eps=1e-5)
    norm.weight.data = torch.randn(24, generator=generator)
    x = scale * torch.randn(3, 5, 24, generator=generator)
    kept = x.clone()
    torch.testing.assert_close(rms_norm(norm, x), norm(x), atol=1e-6, rtol=1e-5)
    assert torch.equal(x, kept)
    half = norm.to(torch.bfloat16)
    assert torch.equal(rms_norm(half, x.bfloat16()), half(x.bfloat16()))


def test_rotation():
    generator = torch.Generator().manual_seed(0)
    x, cos, sin = (torch.randn(2, 7, 3, 8, generator=generator) for _ in range(3))
    cos, sin = (torch.cat([a[:1, :, :1, :4]] * 2, -1) for a in (cos, sin))  # both halves turn by the same angles
    rotary = Rotary(cos=cos, sin=sin)
    wanted, _ = apply_rotary_pos_emb(x.transpose(1, 2), x.transpose(1, 2), cos[:, :, 0], sin[:, :, 0])
    wanted = wanted.transpose(1, 2)
    torch.testing.assert_close(rotary.rotate(x), wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(rotary.since(3).rotate(x[:, 3:]), wanted[:, 3:], atol=1e-6, rtol=0)
    at = torch.tensor([5, 2])
    row = torch.arange(2)
    torch.testing.assert_close(rotary.at(at).rotate(x[row, at][:, None])[:, 0], wanted[row, at], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", sorted(set(ACT2FN) - {"xielu"}))
def test_activations(name):
    x = torch.linspace(-8, 8, 401)
    activation = ACT2FN[name]
    wanted = activation(x.clone())
    torch.testing.assert_close(activate(activation, x.clone()), wanted, atol=1e-6, rtol=1e-5)
