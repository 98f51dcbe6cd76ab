"""Checkpoints on disk load as what they are, or are refused in one line."""

import pytest
import torch
from tiny_models import FAMILIES

from circuitkit.models.loading import load_model


@pytest.mark.parametrize("family", FAMILIES)
def test_directory_gives_the_logits_of_the_saved_model(family, tiny_dirs, tiny_models):
    model = load_model(tiny_dirs[family], device="cpu")
    ids = torch.randint(5, model.info.vocab_size, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        wanted = tiny_models[family].raw(input_ids=ids).logits[:, 4]
    got = model.answer_logits(ids, mask, torch.full((3,), 4))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)
    assert model.info.family == family
    assert model.is_causal == (family in ("gpt2", "llama"))
    assert model.info.weights_sha256 == tiny_models[family].info.weights_sha256
