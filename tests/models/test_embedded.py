"""The models that ship inside the package are there, load, and are what their names say."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from circuitkit.core.errors import ModelError
from circuitkit.models import embedded
from circuitkit.models.embedded import EMBEDDED, card, embedded_path
from circuitkit.models.loading import load_model

TEACHERS = {"toy-distilgpt2": "toy-gpt2", "toy-distilbert": "toy-bert", "toy-minitron": "toy-llama"}
FAMILY = {
    "toy-gpt2": "gpt2",
    "toy-distilgpt2": "gpt2",
    "toy-bert": "bert",
    "toy-distilbert": "distilbert",
    "toy-llama": "llama",
    "toy-minitron": "llama",
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_loads_in_float32_with_the_logits_of_transformers(name):
    model = load_model(name, device="cpu")
    assert (model.info.name, model.info.family, model.dtype) == (name, FAMILY[name], torch.float32)
    assert model.info.n_heads >= 4
    auto = AutoModelForCausalLM if model.is_causal else AutoModelForMaskedLM
    raw = auto.from_pretrained(embedded_path(name), dtype=torch.float32).eval()
    encoded = model.tokenizer("When Mary and John went to the store", return_tensors="pt")
    with torch.no_grad():
        wanted = raw(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits[:, -2]
    position = torch.tensor([encoded["input_ids"].shape[1] - 2])
    got = model.answer_logits(encoded["input_ids"], encoded["attention_mask"].bool(), position)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4)
    assert card(name).startswith(f"# {name}: ")


@pytest.mark.parametrize(("student", "teacher"), TEACHERS.items())
def test_student_has_half_the_layers_and_says_where_they_come_from(student, teacher):
    small, big = load_model(student), load_model(teacher)
    assert big.info.n_layers >= 4
    assert 2 * small.info.n_layers == big.info.n_layers
    assert big.inheritance is None
    assert small.inheritance is not None
    assert sorted(small.inheritance.layers) == list(range(small.info.n_layers))
    assert set(small.inheritance.layers.values()) <= set(range(big.info.n_layers))


def test_all_together_are_small():
    files = [path for name in EMBEDDED for path in embedded_path(name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8 * 1024**2


def test_unknown_name():
    with pytest.raises(ModelError, match="No embedded model is called 'toy-t5'; wanted one of toy-gpt2, "):
        embedded_path("toy-t5")


def test_installation_without_the_files(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "_WEIGHTS", tmp_path)
    with pytest.raises(ModelError, match="has no files in .*; install the package again"):
        load_model("toy-gpt2")
