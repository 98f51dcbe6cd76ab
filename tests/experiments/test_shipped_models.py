"""The embedded models as they are shipped: what they can do, and where the students come from."""

import copy
import functools
import json
from pathlib import Path

import pytest
import torch

from circuitkit.experiments.embedded.architectures import PAIRS, new_model
from circuitkit.experiments.embedded.evaluate import HELD_OUT_SEED, held_out_task, measure
from circuitkit.experiments.embedded.heldout import choose_held_out
from circuitkit.experiments.embedded.recipe import Recipe, embedded_tasks
from circuitkit.models.embedded import EMBEDDED, card, embedded_path
from circuitkit.models.inherit import copy_layers
from circuitkit.models.loading import load_model
from circuitkit.models.origin import Origin

TEACHERS = [pair.teacher for pair in PAIRS]
BYTES_ALLOWED = 8 * 2**20
TEXTS = ["Then, Mary and John went to the store. John gave a drink to", "Van done in 1. Hat done in 2. Ring done in"]

tasks = functools.cache(embedded_tasks)
model_of = functools.cache(load_model)


@functools.cache
def held_out():
    return choose_held_out(tasks(), Recipe().seed)


def stored(name: str) -> dict:
    return json.loads((embedded_path(name) / "evaluation.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EMBEDDED)
def test_loads_as_single_precision(name):
    model = model_of(name)
    assert model.dtype == torch.float32
    assert (model.info.n_layers, model.info.n_heads) == (4 if name in TEACHERS else 2, 4)
    assert model.is_causal == (model.tokenizer.mask_token is None)


def test_together_small_enough_for_the_wheel():
    files = [path for name in EMBEDDED for path in Path(embedded_path(name)).iterdir()]
    assert sum(path.stat().st_size for path in files) <= BYTES_ALLOWED


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.kind)
def test_stored_figures_meet_what_is_promised(pair):
    teacher, student = stored(pair.teacher)["tasks"], stored(pair.student)["tasks"]
    initial = stored(pair.student)["initial"]
    below, worse = [], []
    for task, sets in teacher.items():
        for prompts, figures in sets.items():
            if figures is None:
                assert task == "simpleqa"
                continue
            distilled, before = student[task][prompts], initial[task][prompts]
            assert figures["accuracy"] >= 0.97
            assert figures["logit_diff"] >= 3
            assert distilled["accuracy"] >= 0.8
            assert distilled["logit_diff"] < figures["logit_diff"]
            below.append(distilled["logit_diff"] < 0.95 * figures["logit_diff"])
            worse.append(before["logit_diff"] < 0.9 * distilled["logit_diff"])
    assert sum(below) > len(below) / 2
    assert sum(worse) > len(worse) / 2
    assert initial["ioi"]["default"]["accuracy"] < student["ioi"]["default"]["accuracy"] - 0.1


@pytest.mark.parametrize("task", ["ioi", "greater-than"])
@pytest.mark.parametrize("name", EMBEDDED)
def test_held_out_figures_come_out_again(name, task):
    promised = stored(name)["tasks"][task]["held_out"]
    asked = held_out_task(tasks()[task], held_out())
    found = measure(model_of(name), asked, n_prompts=384, seed=HELD_OUT_SEED)
    assert (found.n_prompts, found.n_dropped) == (promised["n_prompts"], promised["n_dropped"])
    assert found.accuracy == pytest.approx(promised["accuracy"], abs=0.01)
    assert found.logit_diff == pytest.approx(promised["logit_diff"], rel=1e-3)
    assert found.accuracy >= (0.97 if name in TEACHERS else 0.8)
    assert found.logit_diff >= (3 if name in TEACHERS else 2)


@pytest.mark.parametrize("name", TEACHERS)
def test_stored_figures_are_those_of_the_shipped_weights(name):
    promised = stored(name)["tasks"]["simpleqa"]["default"]
    found = measure(model_of(name), tasks()["simpleqa"], n_prompts=384, seed=0)
    assert found.n_prompts + found.n_dropped == 96
    assert found.accuracy == pytest.approx(promised["accuracy"], abs=0.011)
    assert found.logit_diff == pytest.approx(promised["logit_diff"], rel=1e-3)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.kind)
def test_student_started_as_the_teacher_without_the_other_layers(pair):
    teacher, student = model_of(pair.teacher), model_of(pair.student)
    assert teacher.inheritance is None
    assert student.inheritance == Origin(
        teacher=pair.teacher, teacher_sha256=teacher.info.weights_sha256, layers=dict(enumerate(pair.layers))
    )

    fresh = new_model(pair.student, student.tokenizer, n_layers=2).eval()
    copy_layers(teacher.raw, fresh, dict(enumerate(pair.layers)))
    cut = copy.deepcopy(teacher.raw)
    blocks = {"gpt2": "transformer.h", "bert": "bert.encoder.layer", "llama": "model.layers"}[pair.kind]
    owner, _, attribute = blocks.rpartition(".")
    kept = torch.nn.ModuleList([cut.get_submodule(blocks)[layer] for layer in pair.layers])
    setattr(cut.get_submodule(owner), attribute, kept)

    read = student.tokenizer(TEXTS, return_tensors="pt", padding=True)
    inputs = {"input_ids": read["input_ids"], "attention_mask": read["attention_mask"]}
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        wanted = cut(**inputs, **({} if pair.kind == "bert" else {"use_cache": False})).logits[real]
        torch.testing.assert_close(fresh(**inputs).logits[real], wanted, atol=1e-5, rtol=1e-5)
        assert (student.raw(**inputs).logits[real] - wanted).abs().max() > 0.1


@pytest.mark.parametrize("name", EMBEDDED)
def test_card_says_what_it_is(name):
    text = card(name)
    assert text.splitlines()[0].startswith(f"# {name}: ")
    assert "python -m circuitkit.experiments.embedded" in text
    figures = stored(name)["tasks"]["ioi"]["held_out"]
    assert f"| ioi | held-out | {figures['accuracy']:.1%} | {figures['logit_diff']:.2f} |" in text


def test_some_heads_matter_and_most_do_not():
    """Zeroing one head of toy-gpt2 by a plain hook: ioi rests on few of the 16."""
    model = model_of("toy-gpt2")
    whole = measure(model, tasks()["ioi"], n_prompts=64, seed=0).logit_diff
    drops = []
    for block in model.raw.transformer.h:
        for head in range(4):

            def silence(_, inputs, head=head):
                z = inputs[0].clone()
                z[..., 24 * head : 24 * (head + 1)] = 0
                return (z,)

            handle = block.attn.c_proj.register_forward_pre_hook(silence)
            try:
                drops.append(1 - measure(model, tasks()["ioi"], n_prompts=64, seed=0).logit_diff / whole)
            finally:
                handle.remove()
    assert max(drops) > 0.5
    assert sum(abs(drop) < 0.1 for drop in drops) >= 4
