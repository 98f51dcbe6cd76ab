"""A sweep under real hardships: memory that runs out, and a kill in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from brute_force import token_batch
from safetensors.torch import load_file
from tiny_models import build_raw

from circuitkit.core.memory import is_out_of_memory
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import replace_components
from circuitkit.interventions.replacement import replacement
from circuitkit.interventions.row_budget import RowBudget
from circuitkit.interventions.sweep import sweep
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.supported import FAMILIES

HERE = Path(__file__).parents[1]


def wide_model() -> HookedModel:
    raw = build_raw("gpt2", vocab_size=300, d_model=512)
    return HookedModel(raw=raw, tokenizer=None, family=FAMILIES["GPT2LMHeadModel"], name="wide")


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited in the Linux way")
def test_memory_that_really_runs_out(tmp_path):
    """All rows at once need 78 MB for one activation; the process is given 40 MB more than it has."""
    script = f"""
import resource, sys
sys.path.insert(0, {str(HERE)!r})
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
torch.set_num_threads(1)
from brute_force import token_batch
from test_hardships import wide_model
from circuitkit.interventions import engine
from circuitkit.interventions.sweep import sweep
model, batch = wide_model(), token_batch(300, [[60] * 32])
whole = sweep(model, batch, batch_size=64).ablated
short = []
true = engine.is_out_of_memory
engine.is_out_of_memory = lambda error: short.append(true(error)) or short[-1]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 40 * 2**20, -1))
tight = sweep(model, batch, batch_size=10**6).ablated
print(sum(short), float((tight - whole).abs().max()))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]
    times_short, error = ran.stdout.split()
    assert int(times_short) >= 1
    assert float(error) < 1e-4


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_in_the_middle_goes_on_to_the_same_numbers(tmp_path):
    command = [Path(sys.executable).with_name("circuitkit"), "influence", "toy-distilgpt2", "-t", "ioi"]
    command += ["--n-prompts", "192", "--bootstrap", "20", "--out"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, tmp_path / "whole"], env=env, check=True, capture_output=True, timeout=300)
    killed = subprocess.Popen([*command, tmp_path / "cut"], env=env, stdout=-3, stderr=-3)
    deadline = time.monotonic() + 120
    while not (kept := _shards(tmp_path)) and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, "it was done before it could be killed"
    assert kept
    assert not (tmp_path / "cut").exists()
    times = {path: path.stat().st_mtime_ns for path in _shards(tmp_path)}
    subprocess.run([*command, tmp_path / "cut"], env=env, check=True, capture_output=True, timeout=300)
    assert 0 < len(times) < 6
    one, other = (load_file(tmp_path / name / "tensors.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    results = [json.loads((tmp_path / name / "result.json").read_text())["influence"] for name in ("whole", "cut")]
    assert results[0] == results[1]


def _shards(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".cut.partial/**/*.safetensors") if not path.name.startswith(".")]


def test_clean_runs_that_do_not_fit_are_split(tiny_models, monkeypatch):
    """Memory may already be short for the clean run, before any stack can be halved."""
    from circuitkit.interventions import engine

    model = tiny_models["bert"]
    batch = token_batch(model.info.vocab_size, [[6, 6, 9, 9], [7, 7, 7, 12]])
    whole, true = sweep(model, batch).ablated, engine.Replay.__init__

    def fits_three(self, model, rows):
        if len(rows.ids) > 3:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory")
        true(self, model, rows)

    monkeypatch.setattr(engine.Replay, "__init__", fits_three)
    torch.testing.assert_close(sweep(model, batch).ablated, whole, atol=1e-5, rtol=0)


def test_other_errors_are_not_taken_for_short_memory(tiny_models, monkeypatch):
    from circuitkit.interventions import engine

    def broken(self, *args, **kwargs):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(engine.Replay, "run", broken)
    model = tiny_models["gpt2"]
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        sweep(model, token_batch(model.info.vocab_size, [[8] * 4]))
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))


def test_budget_follows_length_and_halves(tiny_models):
    auto = RowBudget(tiny_models["gpt2"], "auto")
    assert auto.rows(10) == auto.rows(1) // 10
    before = auto.rows(10)
    auto.halve()
    assert auto.rows(10) == before // 2
    asked = RowBudget(tiny_models["gpt2"], 3)
    assert (asked.rows(1), asked.rows(1000)) == (3, 3)
    asked.halve()
    asked.halve()
    assert asked.rows(1000) == 1


def test_values_are_made_once_for_each_shard(tiny_models):
    """However small the pieces: what replaces activations is read off the partners once a prompt."""
    model = tiny_models["gpt2"]
    batch = token_batch(model.info.vocab_size, [[8] * 6])
    source, calls = replacement(model, batch, Ablation.RESAMPLE), []

    def counted(rows, length):
        calls.append(len(rows))
        return source(rows, length)

    units = [replace_components(c) for c in model.components]
    run_interventions(model, batch, units, source=counted)
    assert calls == [6]
