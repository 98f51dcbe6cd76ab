"""Checkpoints on disk load as what they are."""

import json
import shutil
import subprocess
import sys

import pytest
import raw_hooks
import torch
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, build_raw, save

from circuitkit.core.errors import OptionError
from circuitkit.models import embedded
from circuitkit.models.loading import load_model
from circuitkit.models.origin import Origin

EXACT = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def copy_of(tiny_dirs, tmp_path):
    """family -> a copy of its directory, which may be changed."""
    return lambda family: shutil.copytree(tiny_dirs[family], tmp_path / f"copy of {family}")


def edit_config(folder, **changes):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def assert_same_logits(model, reference):
    ids, mask = raw_hooks.padded_batch(reference.info.vocab_size)
    with torch.no_grad():
        wanted = reference.raw(input_ids=ids, attention_mask=mask.long()).logits[:, 2]
    got = model.answer_logits(ids, mask, torch.full((len(ids),), 2))
    torch.testing.assert_close(got, wanted, **EXACT)


@pytest.mark.parametrize("family", FAMILIES)
def test_directory_gives_the_model_that_was_saved(family, tiny_dirs, tiny_models):
    """A BERT directory, above all, comes back as a masked language model and not as a decoder."""
    model = load_model(tiny_dirs[family], device="cpu")
    assert_same_logits(model, tiny_models[family])
    assert type(model.raw) is type(tiny_models[family].raw)
    assert model.is_causal == (family in ("gpt2", "llama"))
    assert model.info.weights_sha256 == tiny_models[family].info.weights_sha256
    assert model.info.name == str(tiny_dirs[family])
    assert model.info.revision is None
    assert not model.raw.training
    assert model.tokenizer("When Mary")["input_ids"] == tiny_models[family].tokenizer("When Mary")["input_ids"]


def test_paths_of_every_kind(copy_of, tiny_models, monkeypatch):
    folder = copy_of("llama")
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    for name in (folder, str(folder), folder.name, f"./{folder.name}", f"{folder}/", f"~/{folder.name}"):
        model = load_model(name)
        assert model.info.weights_sha256 == tiny_models["llama"].info.weights_sha256
        assert model.info.name == str(name)


def test_directory_called_like_an_embedded_model(tiny_dirs, tmp_path, monkeypatch):
    shutil.copytree(tiny_dirs["llama"], tmp_path / "toy-gpt2")
    monkeypatch.chdir(tmp_path)
    assert load_model("./toy-gpt2").info.family == "llama"


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoints_of_transformers_4(family, copy_of, tiny_models):
    """They say torch_dtype and rope_theta; older GPT-2 has no prefix, older BERT has gamma and beta."""
    folder = copy_of(family)
    edit_config(folder, dtype=None, torch_dtype="float32", transformers_version="4.30.2")
    if family == "llama":
        edit_config(folder, rope_parameters=None, rope_theta=10000.0, rope_scaling=None)
    weights = load_file(folder / "model.safetensors")
    renamed = {}
    for name, tensor in weights.items():
        old = name.removeprefix("transformer.") if family == "gpt2" else name
        if family == "bert":
            old = old.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        renamed[old] = tensor
    if family == "gpt2":
        renamed["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
    if family == "bert":
        renamed["bert.pooler.dense.weight"] = torch.zeros(32, 32)
        renamed["cls.seq_relationship.weight"] = torch.zeros(2, 32)
        renamed["bert.embeddings.position_ids"] = torch.arange(64)
    assert family in ("distilbert", "llama") or set(renamed) != set(weights)
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    assert_same_logits(load_model(folder), tiny_models[family])


def test_configuration_without_architectures_goes_by_its_model_type(copy_of, tiny_models):
    folder = copy_of("bert")
    edit_config(folder, architectures=None)
    assert_same_logits(load_model(folder), tiny_models["bert"])


def test_bert_for_pretraining_loads_with_its_masked_head(copy_of, tiny_models):
    folder = copy_of("bert")
    edit_config(folder, architectures=["BertForPreTraining"])
    assert_same_logits(load_model(folder), tiny_models["bert"])


@pytest.mark.parametrize("family", FAMILIES)
def test_bin_weights(family, copy_of, tiny_models):
    folder = copy_of(family)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert_same_logits(load_model(folder), tiny_models[family])


def test_sharded_safetensors(tiny_models, tmp_path):
    reference = tiny_models["llama"]
    build_raw("llama", vocab_size=reference.info.vocab_size).save_pretrained(tmp_path, max_shard_size="60KB")
    reference.tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_same_logits(load_model(tmp_path), reference)


def test_dtype(tiny_dirs, tmp_path, tiny_tokenizers):
    half = build_raw("llama", vocab_size=len(tiny_tokenizers["llama"])).to(torch.bfloat16)
    folder = save(half, tiny_tokenizers["llama"], tmp_path / "half")
    assert load_model(folder).dtype == torch.bfloat16
    assert load_model(folder, dtype="float32").dtype == torch.float32
    assert load_model(tiny_dirs["llama"]).dtype == torch.float32
    assert load_model(tiny_dirs["llama"], dtype="float16").dtype == torch.float16
    with pytest.raises(OptionError, match="Dtype 'int8' not understood; wanted auto, float32, bfloat16, float16"):
        load_model(folder, dtype="int8")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "Device 'gpu' not understood; wanted auto, cpu, cuda"),
        ("meta", "Device 'meta' is not supported"),
        ("cuda:99", "Device 'cuda:99' asked for, but torch sees"),
    ],
)
def test_device_that_is_not_there(device, message, tiny_dirs):
    with pytest.raises(OptionError, match=message):
        load_model(tiny_dirs["llama"], device=device)


def test_cuda_is_taken_only_where_there_is_one(tiny_dirs):
    assert load_model(tiny_dirs["llama"]).device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="torch sees 0 cuda devices"):
            load_model(tiny_dirs["llama"], device="cuda")


def test_tokenizer_of_another_directory(copy_of, tiny_dirs):
    folder = copy_of("llama")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    model = load_model(folder, tokenizer=str(tiny_dirs["llama"]))
    assert model.tokenizer("When")["input_ids"][0] == 1


def test_inheritance_is_read(copy_of):
    folder = copy_of("gpt2")
    assert load_model(folder).inheritance is None
    (folder / "circuitkit_inheritance.json").write_text('{"teacher": "big", "layers": {"0": 0, "1": 2}}')
    assert load_model(folder).inheritance == Origin(teacher="big", teacher_sha256=None, layers={0: 0, 1: 2})
    (folder / "circuitkit_inheritance.json").write_text(
        '{"teacher": "big", "teacher_sha256": "ab", "layers": {"0": 0, "1": 2}}'
    )
    assert load_model(folder).inheritance == Origin(teacher="big", teacher_sha256="ab", layers={0: 0, 1: 2})


def test_embedded_models_load_in_float32(copy_of, tiny_models, monkeypatch):
    folder = copy_of("gpt2")
    raw = build_raw("gpt2", vocab_size=tiny_models["gpt2"].info.vocab_size).half()
    raw.save_pretrained(folder)
    folder.rename(folder.parent / "toy-gpt2")
    monkeypatch.setattr(embedded, "_WEIGHTS", folder.parent)
    model = load_model("toy-gpt2")
    assert model.dtype == torch.float32
    assert load_model("toy-gpt2", dtype="float16").dtype == torch.float16
    assert model.info.name == "toy-gpt2"


def test_nothing_is_said_while_loading(tiny_dirs, capfd):
    load_model(tiny_dirs["bert"])
    assert capfd.readouterr() == ("", "")


def test_code_in_a_checkpoint_is_not_run(copy_of, tiny_models):
    folder = copy_of("gpt2")
    edit_config(folder, auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer.update(auto_map={"AutoTokenizer": ["evil.Words", "evil.Words"]}, tokenizer_class="Words")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "custom_generate").mkdir()
    for file in (folder / "evil.py", folder / "custom_generate" / "generate.py"):
        file.write_text(f"open({str(folder / 'ran')!r}, 'w').close()")
    assert_same_logits(load_model(folder), tiny_models["gpt2"])
    assert not (folder / "ran").exists()


def test_import_is_light():
    """Importing takes neither transformers nor transformer_lens with it: they cost seconds."""
    code = "import sys, circuitkit.models; print(sorted({'transformers', 'transformer_lens'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
