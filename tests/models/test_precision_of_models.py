"""A float32 copy of a 16-bit model is the same checkpoint loaded in float32, and the model stays what it was."""

import copy
import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from brute_force import forward, token_batch
from tiny_models import FAMILIES, build_raw, save
from transformers import AutoModelForCausalLM

from circuitkit.core.errors import OptionError
from circuitkit.models.loading import load_model, wrap_model
from circuitkit.models.precision import check_copyable, in_float32

ENDS = {  # what is not a block
    "gpt2": ("transformer.wte", "transformer.wpe", "transformer.drop", "transformer.ln_f", "lm_head"),
    "llama": ("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"),
}
HALVES = torch.bfloat16, torch.float16
SHORT = """
import resource, warnings
import torch
from tiny_models import build_raw, build_tokenizer
from circuitkit.core.errors import ModelError
from circuitkit.models.precision import in_float32
from circuitkit.models.loading import wrap_model

tokenizer = build_tokenizer("gpt2")
raw = build_raw("gpt2", vocab_size=len(tokenizer), n_layers=12, d_model=512).to(torch.bfloat16)
model = wrap_model(raw, tokenizer, name="large")
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 40 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
try:
    in_float32(model)
except ModelError as error:
    print(error)
"""


@pytest.fixture(scope="module", params=[(family, dtype) for family in FAMILIES for dtype in HALVES], ids=str)
def half_dir(request, tmp_path_factory, tiny_tokenizers):
    """A checkpoint stored in 16 bits."""
    family, dtype = request.param
    raw = build_raw(family, vocab_size=len(tiny_tokenizers[family])).to(dtype)
    return save(raw, tiny_tokenizers[family], tmp_path_factory.mktemp("half") / family), dtype


def test_it_is_the_checkpoint_loaded_in_float32(half_dir):
    folder, dtype = half_dir
    model, wanted = load_model(folder, device="cpu"), load_model(folder, device="cpu", dtype="float32")
    assert (model.dtype, model.stored_dtype) == (dtype, None)
    for found in (in_float32(model), load_model(folder, device="cpu", widened=True)):
        assert (found.dtype, found.stored_dtype, found.device) == (torch.float32, dtype, model.device)
        assert found.info == wanted.info
        assert found.raw.config.to_diff_dict() == wanted.raw.config.to_diff_dict()
        theirs = dict(wanted.raw.named_buffers())
        assert all(torch.equal(buffer, theirs[name]) for name, buffer in found.raw.named_buffers())
        batch = token_batch(model.info.vocab_size, [[6, 6, 9, 9]]).clean
        logits = [forward(raw, batch.ids, batch.mask) for raw in (found.raw, wanted.raw)]
        assert torch.equal(*logits)
    assert wanted.stored_dtype is None


def test_the_model_stays_as_it_was_and_shares_nothing(half_dir):
    model = load_model(half_dir[0], device="cpu")
    before, config = model.info, copy.deepcopy(model.raw.config.to_dict())
    tied = sum(1 for _ in model.raw.named_parameters(remove_duplicate=False)) - sum(1 for _ in model.raw.parameters())
    wide = in_float32(model)
    with torch.no_grad():
        for tensor in (*wide.raw.parameters(), *wide.raw.buffers()):
            tensor.zero_()
    again = wrap_model(model.raw, model.tokenizer, name=model.info.name)
    assert again.info == before
    assert again.dtype == half_dir[1]
    assert model.raw.config.to_dict() == config
    names = wide.raw.named_parameters(remove_duplicate=False)
    assert sum(1 for _ in names) - sum(1 for _ in wide.raw.parameters()) == tied
    assert not wide.raw.training


def test_a_copy_goes_when_it_is_let_go(half_dir):
    wide = in_float32(load_model(half_dir[0], device="cpu"))
    kept = weakref.ref(wide.raw.get_input_embeddings().weight)
    del wide
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wider_models_are_what_they_are(dtype, tiny_models, tiny_dirs):
    model = tiny_models["gpt2"]
    wide = wrap_model(copy.deepcopy(model.raw).to(dtype), model.tokenizer, name="wide")
    assert in_float32(wide) is wide
    assert load_model(tiny_dirs["gpt2"], device="cpu", widened=True).stored_dtype is None


@pytest.mark.filterwarnings("ignore:Some parameters are on the meta device")
@pytest.mark.parametrize("family", ENDS)
def test_a_model_on_several_devices_is_refused_in_one_line(family, tmp_path, tiny_tokenizers):
    tokenizer = tiny_tokenizers[family]
    raw = build_raw(family, vocab_size=len(tokenizer))
    folder = save(raw.to(torch.bfloat16), tokenizer, tmp_path / "half")
    whole = load_model(folder, device="cpu")
    places = dict.fromkeys(ENDS[family], "cpu") | {
        f"{whole.family.blocks_path}.{layer}": "disk" if layer else "cpu" for layer in range(whole.info.n_layers)
    }
    given = {"device_map": places, "offload_folder": tmp_path / "disk"}
    spread = wrap_model(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **given), tokenizer, name="spread"
    )
    for refuse in (check_copyable, in_float32):
        with pytest.raises(OptionError, match=r"spread over cpu, disk in bfloat16.*--dtype float32") as error:
            refuse(spread)
        assert "\n" not in str(error.value)
    wide = wrap_model(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **given), tokenizer, name="spread"
    )
    assert in_float32(wide) is wide
    one = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map={"": "cpu"})
    assert in_float32(wrap_model(one, tokenizer, name="one")).dtype == torch.float32


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits address space as Linux does")
def test_short_memory_is_said_in_one_line():
    folder = Path(__file__).parents[1]
    paths = os.pathsep.join([str(folder), str(folder.parent), os.environ.get("PYTHONPATH", "")])
    out = subprocess.run(
        [sys.executable, "-c", SHORT],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.startswith("A float32 copy of model 'large' does not fit on cpu beside it; ")
    assert "--dtype bfloat16 (in Python as_loaded=True)" in out
    assert out.count("\n") == 1
