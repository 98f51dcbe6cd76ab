"""The main job on a real pretrained model and on a student of every second of its layers."""

import json
import os
import resource

import pytest
import torch
from brute_force import MODULES
from transformers import LlamaForCausalLM

from circuitkit.alignment.align import align
from circuitkit.cli.main import main
from circuitkit.core.component import Component
from circuitkit.discovery.influence import influence
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.rows import clean_logit_diff
from circuitkit.interventions.sweep import sweep
from circuitkit.models.loading import load_model
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def cut_dir(real_model_dir, tmp_path_factory):
    """The checkpoint with every second layer left out, saved as transformers saves it."""
    folder = tmp_path_factory.mktemp("cut") / "smollm2-cut"
    raw = LlamaForCausalLM.from_pretrained(real_model_dir, dtype=torch.float32)
    kept = list(range(0, raw.config.num_hidden_layers, 2))
    raw.model.layers = torch.nn.ModuleList(raw.model.layers[i] for i in kept)
    for number, layer in enumerate(raw.model.layers):
        layer.self_attn.layer_idx = number
    raw.config.num_hidden_layers = len(kept)
    raw.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((real_model_dir / name).read_bytes())
    origin = {"teacher": "SmolLM2-135M-Instruct", "layers": {str(i): layer for i, layer in enumerate(kept)}}
    (folder / "circuitkit_inheritance.json").write_text(json.dumps(origin))
    return folder


@pytest.fixture(scope="module", autouse=True)
def threads():
    """Two, unless another worker of pytest-xdist has the other core."""
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize(("name", "least_right"), [("numerals", 0.95), ("ioi", 0.9), ("months", 0.95)])
def test_it_does_the_tasks(real_model_dir, name, least_right):
    """Published for this checkpoint: numerals 5.0 (100% right), months 2.4 (100%), IOI about 5 (100%)."""
    model = load_model(real_model_dir)
    difference = clean_logit_diff(model, build_batch(load_task(name), model, n_prompts=32))
    assert (difference > 0).float().mean() >= least_right
    assert difference.mean() > 1.5


def test_ablations_equal_hand_placed_hooks(real_model_dir):
    model = load_model(real_model_dir)
    batch = build_batch(load_task("ioi"), model, n_prompts=4)
    asked = (Component(0, 3), Component(7, 8), Component(29, 0), Component(2), Component(29))
    found = sweep(model, batch, ablation=Ablation.ZERO, components=asked)
    blocks, projection, mlp = MODULES["llama"]
    for row, component in enumerate(asked):
        block = model.raw.get_submodule(f"{blocks}.{component.layer}")
        if component.head is None:
            handle = block.get_submodule(mlp).register_forward_hook(lambda _m, _a, out: torch.zeros_like(out))
        else:

            def silence(_module, args, head=component.head):
                z = args[0].clone()
                z[..., head * 64 : (head + 1) * 64] = 0
                return (z,)

            handle = block.get_submodule(projection).register_forward_pre_hook(silence)
        try:
            with torch.no_grad():
                logits = model.raw(input_ids=batch.clean.ids, attention_mask=batch.clean.mask.long()).logits
        finally:
            handle.remove()
        at = logits[torch.arange(len(batch.pairs)), batch.clean.answer_pos]
        rows = torch.arange(len(batch.pairs))
        expected = at[rows, batch.correct_ids] - at[rows, batch.incorrect_ids]
        # logits reach 30 here: 1e-4 of that
        torch.testing.assert_close(found.ablated[row], expected, atol=3e-3, rtol=0, msg=str(component))


def test_alignment_with_the_cut_student(real_model_dir, cut_dir, tmp_path, capsys):
    out = tmp_path / "run"
    args = ["align", str(real_model_dir), str(cut_dir), "-t", "numerals", "-n", "4", "--out", str(out), "--json", "-"]
    assert main(args) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["teacher"]["n_layers"], result["student"]["n_layers"]) == (30, 15)
    assert result["inheritance"]["map"]["14"] == 28
    assert result["fingerprint"] is None and any("--fingerprint-components" in line for line in result["warnings"])
    # the student is nothing but copied layers: the control must say so
    assert result["controls"]["initialised_only"]["score"] == pytest.approx(result["alignment"]["score"], abs=1e-6)
    assert (out / "report.html").stat().st_size < 2_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 1024**2


def test_identity(real_model_dir):
    model = load_model(real_model_dir)
    result = align(model, model, load_task("months"), n_prompts=2, bootstrap=0, null="none", fingerprint=False)
    assert result.score == pytest.approx(1, abs=1e-6)
    assert influence(model, load_task("months"), n_prompts=2, bootstrap=0).values.max() == 1
