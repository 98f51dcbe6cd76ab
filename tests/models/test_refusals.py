"""What cannot be used is refused in one line that says got, wanted, mend."""

import json
import pickle
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, build_raw

from circuitkit.core.errors import ModelError
from circuitkit.models import config_file
from circuitkit.models.loading import load_model, wrap_model


@pytest.fixture
def folder_of(tiny_dirs, tmp_path):
    """family -> a copy of its directory, which may be changed."""
    return lambda family: shutil.copytree(tiny_dirs[family], tmp_path / family)


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder, edit):
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def refusal(name, **options):
    with pytest.raises(ModelError) as caught:
        load_model(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.mark.parametrize("family", FAMILIES)
def test_base_model_without_head(family, folder_of, tiny_models):
    folder = folder_of(family)
    build_raw(family, vocab_size=tiny_models[family].info.vocab_size).base_model.save_pretrained(folder)
    assert "Model, which has no language-model head; wanted one of GPT2LMHeadModel" in refusal(folder)


def test_head_missing_from_the_weights(folder_of):
    folder = folder_of("bert")
    edit_weights(folder, lambda w: [w.pop(name) for name in list(w) if name.startswith("cls.")])
    message = refusal(folder)
    assert "lacks parameters of BertForMaskedLM (6, first: cls.predictions.bias); wanted weights saved with" in message


def test_untied_head_missing_from_the_weights(folder_of):
    folder = folder_of("llama")
    edit_weights(folder, lambda w: w.pop("lm_head.weight"))
    assert "lacks parameters of LlamaForCausalLM (1, first: lm_head.weight)" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, "T5ForConditionalGeneration"),
        ({"architectures": ["MistralForCausalLM"], "model_type": "mistral"}, "MistralForCausalLM"),
        ({"architectures": ["ViTForImageClassification"], "model_type": "vit"}, "ViTForImageClassification"),
        ({"architectures": ["BertLMHeadModel"], "model_type": "bert"}, "BertLMHeadModel"),
        ({"architectures": None, "model_type": "mamba"}, "checkpoint with model_type 'mamba'"),
        ({"is_encoder_decoder": True}, "LlamaForCausalLM with is_encoder_decoder"),
    ],
)
def test_families_that_are_not_supported(changes, what, folder_of):
    folder = folder_of("llama")
    edit_config(folder, **changes)
    message = refusal(folder)
    assert f"is a {what}, which is not supported" in message
    assert "GPT2LMHeadModel, BertForMaskedLM, DistilBertForMaskedLM, LlamaForCausalLM" in message
    assert "toy-gpt2" in message


def test_bert_decoder(folder_of):
    folder = folder_of("bert")
    edit_config(folder, is_decoder=True)
    assert "BertForMaskedLM that is a BERT decoder (is_decoder), which is not supported" in refusal(folder)


def test_gpt2_with_cross_attention(folder_of):
    folder = folder_of("gpt2")
    edit_config(folder, add_cross_attention=True)
    assert "has cross-attention" in refusal(folder)


def test_architecture_and_model_type_that_disagree(folder_of):
    folder = folder_of("llama")
    edit_config(folder, model_type="mistral")
    assert "architecture LlamaForCausalLM but model_type 'mistral'; wanted them to agree" in refusal(folder)


def test_quantised_checkpoint(folder_of):
    folder = folder_of("llama")
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert "is quantised (gptq); wanted plain weights" in refusal(folder)


def test_weights_of_more_layers_than_the_configuration_has(folder_of):
    folder = folder_of("llama")
    edit_config(folder, num_hidden_layers=2)
    assert "holds parameters that a LlamaForCausalLM of its config.json does not have (9, first: " in refusal(folder)


def test_weights_of_fewer_layers_than_the_configuration_has(folder_of):
    folder = folder_of("gpt2")
    edit_config(folder, n_layer=4)
    assert "(12, first: transformer.h.3.attn.c_attn.bias); wanted as many blocks as config.json says" in refusal(folder)


def test_weights_of_another_shape(folder_of):
    folder = folder_of("llama")
    edit_config(folder, intermediate_size=64)
    assert "has shape (32, 96), wanted (32, 64) from config.json" in refusal(folder)


def test_nan_weights(folder_of):
    folder = folder_of("distilbert")

    def spoil(weights):
        weights["distilbert.transformer.layer.1.ffn.lin1.weight"][2, 3] = float("inf")
        weights["vocab_transform.bias"][:] = float("nan")

    edit_weights(folder, spoil)
    message = refusal(folder)
    assert "distilbert.transformer.layer.1.ffn.lin1.weight holds 1 NaN or infinite values of 4096" in message


class Bomb:
    def __reduce__(self):
        return (open, ("bomb-went-off", "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_that_runs_code_is_refused_unrun(zipped, folder_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = folder_of("gpt2")
    weights = {**load_file(folder / "model.safetensors"), "bomb": Bomb()}
    (folder / "model.safetensors").unlink()
    if zipped:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(weights))
    assert "would have to run code to be read; wanted plain tensors" in refusal(folder)
    assert not (tmp_path / "bomb-went-off").exists()


@pytest.mark.parametrize("content", [b"", b"rubbish" * 100, b"\xff" * 8, None])
def test_safetensors_that_are_broken(content, folder_of):
    folder = folder_of("gpt2")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert "cannot be read: " in refusal(folder)


def test_shard_that_is_missing(tiny_models, tmp_path):
    build_raw("llama", vocab_size=tiny_models["llama"].info.vocab_size).save_pretrained(tmp_path, max_shard_size="60KB")
    tiny_models["llama"].tokenizer.save_pretrained(tmp_path)
    sorted(tmp_path.glob("*.safetensors"))[1].unlink()
    assert "cannot be read: " in refusal(tmp_path)


def test_no_weights(folder_of):
    folder = folder_of("gpt2")
    (folder / "model.safetensors").unlink()
    assert "has no weights; wanted model.safetensors beside config.json" in refusal(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\x01"])
def test_configuration_that_is_broken(text, folder_of):
    folder = folder_of("gpt2")
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)


def test_configuration_with_senseless_values(folder_of):
    folder = folder_of("gpt2")
    edit_config(folder, n_head=5)
    assert "cannot be read: `embed_dim` must be divisible by num_heads" in refusal(folder)
    edit_config(folder, n_head="many")
    assert "Validation error for field 'n_head': TypeError" in refusal(folder)


def test_directory_that_is_no_checkpoint(tmp_path):
    assert "is a directory without config.json" in refusal(tmp_path)


def test_file_that_is_no_gguf(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"x")
    assert "is a file that does not end in .gguf" in refusal(tmp_path / "model.onnx")


def test_tokenizer_missing(folder_of):
    folder = folder_of("gpt2")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    message = refusal(folder)
    assert "has no tokenizer; wanted tokenizer.json or" in message
    assert 'load_model(..., tokenizer="gpt2")' in message


def test_tokenizer_broken(folder_of):
    folder = folder_of("gpt2")
    (folder / "tokenizer.json").write_text("{}")
    assert "cannot be read: KeyError: 'added_tokens'; wanted intact tokenizer files" in refusal(folder)


def test_tokenizer_of_another_model(tiny_dirs, tiny_models):
    wanted = tiny_models["gpt2"].info.vocab_size
    assert wanted > tiny_models["bert"].info.vocab_size
    message = refusal(tiny_dirs["bert"], tokenizer=str(tiny_dirs["gpt2"]))
    assert f"tokens and its tokenizer {wanted}; wanted the tokenizer that it was trained with" in message


def test_masked_model_with_a_tokenizer_without_mask(tiny_tokenizers):
    raw = build_raw("bert", vocab_size=len(tiny_tokenizers["gpt2"]))
    with pytest.raises(ModelError, match="tokenizer without mask token"):
        wrap_model(raw, tiny_tokenizers["gpt2"], name="maskless")


def test_in_memory_model_of_another_family(tiny_tokenizers):
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, is_decoder=True
    )
    with pytest.raises(ModelError, match="is a BertLMHeadModel, which is not supported; wanted one of GPT2LMHeadModel"):
        wrap_model(transformers.BertLMHeadModel(config), tiny_tokenizers["bert"], name="decoder")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "rubbish",
        '{"layers": {"0": 1}}',
        '{"teacher": 5, "layers": {"0": 1}}',
        '{"teacher": "t", "layers": {"a": 1}}',
        '{"teacher": "t", "teacher_sha256": 5, "layers": {"0": 1}}',
    ],
)
def test_inheritance_that_is_broken(text, folder_of):
    folder = folder_of("gpt2")
    (folder / "circuitkit_inheritance.json").write_text(text)
    assert "circuitkit_inheritance.json not understood" in refusal(folder)


@pytest.mark.parametrize(
    "name", ["/no/such/folder", "./nowhere", "~/nowhere", "a/b/c", "model.gguf", "", "a\0b", "x" * 5000]
)
def test_path_that_does_not_exist(name):
    message = refusal(name)
    assert "not found: no such directory or file" in message or "cannot be looked up" in message


def test_name_that_is_nearly_an_embedded_one():
    message = refusal("toy-gtp2")
    assert "Model 'toy-gtp2' not found: no such directory, not in the hub's cache" in message
    assert "the hub cannot be reached (HF_HUB_OFFLINE is set); did you mean 'toy-gpt2'?" in message


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_gguf_without_the_extra(package, tmp_path, monkeypatch):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(config_file, "find_spec", lambda name: None if name == package else object())
    message = refusal(tmp_path / "model.gguf")
    assert (
        f"the package {package} is not installed; wanted the extra: pip install 'circuitkit-distill[gguf]'" in message
    )


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\x00" * 10, b"GGUF\x03" + b"\xff" * 60, b"text" * 30])
def test_gguf_that_is_broken(content, tmp_path):
    (tmp_path / "model.gguf").write_bytes(content)
    assert "cannot be read as GGUF" in refusal(tmp_path / "model.gguf")
