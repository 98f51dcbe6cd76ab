"""A student initialised from layers computes what the teacher computes through those layers alone."""

import pytest
import torch
from tiny_models import build_raw
from transformers import BertForMaskedLM

from circuitkit.core.errors import ModelError
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.inherit import copy_layers, initialised_only
from circuitkit.models.origin import Origin

LAYERS = {0: 2, 1: 0}
LISTS = {"gpt2": "transformer.h", "llama": "model.layers", "bert": "bert.encoder.layer"}


def origin(layers, sha256=None) -> Origin:
    return Origin(teacher="t", teacher_sha256=sha256, layers=layers)


def _through(raw, blocks, layers, ids, monkeypatch):
    """The teacher's logits with only the chosen blocks left in it, in that order."""
    owner, _, name = blocks.rpartition(".")
    old = raw.get_submodule(blocks)
    monkeypatch.setattr(raw.get_submodule(owner), name, torch.nn.ModuleList(old[i] for i in layers))
    monkeypatch.setattr(raw.config, "n_layer" if "transformer" in blocks else "num_hidden_layers", len(layers))
    return raw(input_ids=ids, **({} if "bert" in blocks else {"use_cache": False})).logits


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
@torch.no_grad()
def test_same_family(family, tiny_models, tiny_tokenizers, monkeypatch):
    vocab = len(tiny_tokenizers[family])
    teacher = HookedModel(
        raw=build_raw(family, vocab_size=vocab), tokenizer=tiny_tokenizers[family], family=tiny_models[family].family,
        name="t",
    )  # fmt: skip
    student = HookedModel(
        raw=build_raw(family, vocab_size=vocab, n_layers=2, seed=5), tokenizer=tiny_tokenizers[family],
        family=teacher.family, name="s", inheritance=origin(LAYERS, teacher.info.weights_sha256),
    )  # fmt: skip
    fresh = initialised_only(teacher, student)
    ids = torch.randint(3, vocab, (3, 7), generator=torch.Generator().manual_seed(0))
    found = fresh.raw(input_ids=ids).logits
    torch.testing.assert_close(found, _through(teacher.raw, LISTS[family], [2, 0], ids, monkeypatch))
    assert not torch.allclose(student.raw(input_ids=ids).logits, found)
    assert fresh.info.weights_sha256 != student.info.weights_sha256


@torch.no_grad()
def test_distilbert_from_bert(tiny_tokenizers, monkeypatch):
    vocab = len(tiny_tokenizers["bert"])
    teacher, student = build_raw("bert", vocab_size=vocab), build_raw("distilbert", vocab_size=vocab)
    assert isinstance(teacher, BertForMaskedLM)
    copy_layers(teacher, student, LAYERS)
    ids = torch.randint(5, vocab, (3, 7), generator=torch.Generator().manual_seed(0))
    expected = _through(teacher, LISTS["bert"], [2, 0], ids, monkeypatch)
    torch.testing.assert_close(student(input_ids=ids).logits, expected, atol=1e-5, rtol=0)


def test_what_cannot_be_is_named(tiny_models, tiny_tokenizers):
    with pytest.raises(ModelError, match=r"not known which teacher layer"):
        initialised_only(tiny_models["gpt2"], tiny_models["gpt2"])
    raw = build_raw("gpt2", vocab_size=tiny_models["gpt2"].info.vocab_size, n_layers=1)
    student = HookedModel(
        raw=raw,
        tokenizer=tiny_tokenizers["gpt2"],
        family=tiny_models["gpt2"].family,
        name="s",
        inheritance=origin({0: 9}),
    )
    with pytest.raises(ModelError, match="says that it started from layer 9"):
        initialised_only(tiny_models["gpt2"], student)
    student.inheritance = origin({0: 0})
    with pytest.raises(ModelError, match="cannot start from layers of a llama teacher"):
        initialised_only(tiny_models["llama"], student)
    student.inheritance = origin({0: 0}, "0" * 64)
    with pytest.raises(ModelError, match="says that it was made from 't', and the weights of 'tiny-gpt2' are others"):
        initialised_only(tiny_models["gpt2"], student)
