"""Fingerprints against activations patched by hand on raw modules, screening against the whole sweep, and the entry."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from brute_force import intervened_logits, read
from tiny_tasks import labelled

from circuitkit.alignment import fingerprint_sweep
from circuitkit.alignment.fingerprint import compared, fingerprint
from circuitkit.alignment.fingerprint_gradients import estimate_fingerprints
from circuitkit.alignment.fingerprint_result import FORMS
from circuitkit.alignment.fingerprint_score import score
from circuitkit.alignment.fingerprint_screen import parse_choice, score_range, screened_fingerprints
from circuitkit.alignment.fingerprint_sweep import fingerprints
from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.interventions.attribution import estimate_sweep
from circuitkit.interventions.replacement import taken_from
from circuitkit.models.embedded import embedded_path
from circuitkit.models.inherit import initialised_only
from circuitkit.models.loading import load_model
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task
from circuitkit.tasks.position_groups import position_groups

EXACT = {"atol": 1e-4, "rtol": 0}
PROMPTS = 24


@cache
def toy(name):
    return load_model(embedded_path(name))


@cache
def batch_of(task, n=PROMPTS):
    return build_batch(load_task(task), toy("toy-gpt2"), n_prompts=n, counterfactuals=True, need_corrupted=False)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Where sweeps of these tests are kept, so that each is run once."""
    return tmp_path_factory.mktemp("shards")


@pytest.fixture(scope="module")
def quick(shards):
    return {"n_prompts": PROMPTS, "bootstrap": 40, "resume": shards}


def changed(model, *, seed=0):
    """Ragged random prompts: one kind changes all tokens but the first ones, one the middle token only."""
    batch = labelled(model, shared=3, seed=seed)
    middle = batch.clean.ids.clone()
    row, at = torch.arange(len(middle)), batch.label_positions["B"]
    middle[row, at] = (middle[row, at] + 1) % model.info.vocab_size
    kinds = {"all": batch.corrupted, "middle": replace(batch.clean, ids=middle)}
    return replace(batch, corrupted=None, counterfactuals=kinds)


def test_effects_are_those_of_hooks_on_raw_modules(tiny_model):
    batch, family = changed(tiny_model), tiny_model.info.family
    found = fingerprints(tiny_model, batch)
    places = position_groups(batch)
    assert found.groups == places.names and found.kinds == ("all", "middle")
    assert found.components == tiny_model.components
    row = torch.arange(len(batch.pairs))

    def logit_diff(edits):
        logits = intervened_logits(tiny_model.raw, family, edits, batch.clean)
        return logits[row, batch.correct_ids] - logits[row, batch.incorrect_ids]

    clean = logit_diff({})
    torch.testing.assert_close(found.clean, clean, **EXACT)
    for i, component in enumerate(found.components):
        for k, block in enumerate(batch.counterfactuals.values()):
            value = read(tiny_model.raw, family, component, block)
            for g, where in enumerate(places.masks):
                effect = clean - logit_diff({component: (value, where)})
                torch.testing.assert_close(found.effects[i, k, g], effect, **EXACT)
    assert found.effects.abs().amax((0, 3)).min() > 1e-3 or tiny_model.is_causal


def test_what_cannot_matter_is_not_run_and_is_exactly_nothing(tiny_models, monkeypatch):
    model, ran = tiny_models["gpt2"], []
    run = fingerprint_sweep.run_interventions

    def counted(model, batch, units, **options):
        ran.extend(units)
        return run(model, batch, units, **options)

    monkeypatch.setattr(fingerprint_sweep, "run_interventions", counted)
    batch = changed(model)
    found = fingerprints(model, batch)
    at = {name: i for i, name in enumerate(found.groups)}
    assert not bool(found.effects[:, :, at["A"]].any())  # the second token, which no kind changes
    last = [i for i, c in enumerate(found.components) if c.layer == model.info.n_layers - 1]
    assert not bool(found.effects[last][:, :, at["B"]][..., batch.label_positions["B"] != batch.clean.answer_pos].any())
    assert bool(found.effects[last][:, :, at["END"]].any())
    n_cells = found.effects.shape[0] * found.effects.shape[1] * found.effects.shape[2]
    assert len(ran) < 0.7 * n_cells


def test_counterfactuals_that_change_nothing_have_no_effect(tiny_model):
    batch = changed(tiny_model)
    same = replace(batch, counterfactuals={"same": batch.clean})
    found = fingerprints(tiny_model, same)
    assert not bool(found.effects.any())
    torch.testing.assert_close(found.clean, fingerprints(tiny_model, batch).clean, **EXACT)


def test_batch_size_components_and_shards_change_nothing(tiny_models, tmp_path, monkeypatch):
    model = tiny_models["llama"]
    batch = changed(model)
    whole = fingerprints(model, batch, resume=tmp_path)
    told = []
    some = fingerprints(
        model,
        batch,
        components=[Component(1), Component(0, 2)],
        batch_size=2,
        progress=lambda stage, done, total: told.append((done, total)),
    )
    rows = [whole.components.index(c) for c in some.components]
    torch.testing.assert_close(some.effects, whole.effects[rows], **EXACT)
    assert told[-1][0] == told[-1][1] and sorted(told) == told
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    monkeypatch.setattr("circuitkit.interventions.engine._together", lambda *_: pytest.fail("run again"))
    assert torch.equal(fingerprints(model, batch, resume=tmp_path).effects, whole.effects)


def test_prompts_without_counterfactuals_are_refused(tiny_models):
    with pytest.raises(OptionError, match="has no counterfactual prompts"):
        fingerprints(tiny_models["gpt2"], labelled(tiny_models["gpt2"]))


def test_gradient_estimates_add_up_to_those_of_whole_components(tiny_model):
    """The groups are all positions, each once: their estimates add up to attribution patching of the component."""
    batch = changed(tiny_model)
    places = position_groups(batch)
    assert torch.equal(places.masks.long().sum(0), batch.clean.mask.long())
    found = estimate_fingerprints(tiny_model, batch, places.masks)
    for k, block in enumerate(batch.counterfactuals.values()):
        whole = estimate_sweep(tiny_model, batch, source=taken_from(tiny_model, block, into=batch.clean))
        torch.testing.assert_close(found[:, k].sum(1), whole.clean - whole.ablated, **EXACT)
    assert bool(found[:, :, places.names.index("A")].any()) is not tiny_model.is_causal


@pytest.mark.parametrize("task", ["ioi", "numerals"])
@pytest.mark.parametrize("name", ["toy-gpt2", "toy-distilgpt2"])
def test_no_more_is_left_out_than_the_bound_says(task, name, shards):
    model, batch = toy(name), batch_of(task)
    whole = fingerprints(model, batch, resume=shards)
    masses = whole.mean.abs().sum((1, 2))
    for top in (4, 8):
        found, screen = screened_fingerprints(model, batch, top=top, seed=0, resume=shards)
        assert screen is not None
        rows = [whole.components.index(c) for c in found.components]
        left_out = float(masses.sum() - masses[rows].sum())
        torch.testing.assert_close(found.effects, whole.effects[rows], **EXACT)
        torch.testing.assert_close(found.clean, whole.clean, **EXACT)
        assert found.prompt_index == batch.prompt_index
        assert left_out <= screen.discarded_bound < left_out + 0.15 * float(masses.sum())
        assert left_out <= 1.2 * float(masses.sum() - masses.topk(top).values.sum()) + 1e-6
        assert screen.kept_mass == pytest.approx(float(masses[rows].sum()), rel=1e-4)


def test_the_score_of_all_components_lies_where_screening_says(shards):
    pair = toy("toy-gpt2"), toy("toy-distilgpt2")
    batch = batch_of("ioi")
    whole = float(score(compared(*(fingerprints(model, batch, resume=shards) for model in pair)), seed=0).F)
    for top in (4, 8):
        (one, first), (other, second) = (screened_fingerprints(model, batch, top=top, resume=shards) for model in pair)
        kept = float(score(compared(one, other), seed=0).F)
        low, high = score_range(kept, first, second)
        assert low <= whole <= high and low <= kept


def test_as_many_as_there_are_leaves_nothing_out():
    found, screen = screened_fingerprints(toy("toy-distilgpt2"), batch_of("ioi", 8), top=99)
    assert screen is not None and screen.discarded_bound == 0 and screen.n_kept == screen.n_components
    torch.testing.assert_close(
        found.effects, fingerprints(toy("toy-distilgpt2"), batch_of("ioi", 8)).effects, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("given", ["top", "top:0", "top:-1", "most", "top:x", ""])
def test_an_unknown_choice_of_components_is_refused(given):
    with pytest.raises(OptionError, match="give all, or top:K"):
        parse_choice(given)
    assert parse_choice("all") is None and parse_choice("top:12") == 12


def test_students_come_out_in_the_order_of_what_they_can_do(quick):
    teacher, student = toy("toy-gpt2"), toy("toy-distilgpt2")
    others = [student, initialised_only(teacher, student), student.with_random_weights(0)]
    found = [fingerprint(teacher, other, load_task("ioi"), **quick) for other in others]
    assert found[0].F > found[1].F + 0.2 > found[2].F + 0.3
    assert found[0].scores["F"].ci95[0] > found[1].scores["F"].ci95[1]
    assert found[2].F < 0.01
    assert any("does not do this task" in notice for notice in found[2].notices)
    assert found[0].nulls["shuffled"].p < 0.02


def test_a_model_is_itself_and_the_record_says_everything(quick):
    found = fingerprint(toy("toy-distilgpt2"), toy("toy-distilgpt2"), load_task("numerals"), **quick)
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [record[form]["score"] for form in FORMS[:3]] == pytest.approx([1, 1, 1], abs=1e-6)
    assert record["F"]["ci95"] == pytest.approx([1, 1]) and record["noise"] == pytest.approx(0, abs=1e-9)
    assert 0.5 < record["ceiling"]["score"] < 1
    assert record["pairs"] == {name: name for name in record["fingerprints"]["teacher"]} and record["merged"] == {}
    assert record["fingerprints"]["teacher"]["MLP0"]["last"]["n4"] == pytest.approx(
        float(found.teacher.mean[-2, found.teacher.kinds.index("last"), found.teacher.groups.index("n4")])
    )
    assert set(found.frame()["group"]) == set(record["groups"])
    assert any("same weights" in notice for notice in record["notices"]) and record["screen"] is None
    tensors, axes = found.tensors()
    assert {name: len(names) for name, names in axes.items()} == {name: t.ndim for name, t in tensors.items()}


def test_other_tokenizers_need_no_special_case(quick):
    found = fingerprint(toy("toy-gpt2"), toy("toy-bert"), load_task("ioi"), random_students=1, **quick)
    assert found.student.groups == found.teacher.groups and found.student.kinds == found.teacher.kinds
    assert len(found.student.clean) == len(found.teacher.clean)
    assert 0.02 < found.F < 1
    assert found.nulls["random_student"].mean < 0.1 and found.nulls["random_student"].n == 1
    assert found.nulls["random_student"].ci95 is None


def test_screened_results_say_what_was_left_out(quick):
    found = fingerprint(toy("toy-gpt2"), toy("toy-distilgpt2"), load_task("ioi"), components="top:4", **quick)
    low, high = found.to_dict()["screen"]["F_of_all_between"]
    assert low < found.F and low < high <= 1
    assert any("4 of 20 components of the teacher" in notice for notice in found.notices)


def test_given_batches_and_chosen_kinds_are_used(shards):
    batch = batch_of("ioi")
    pair = toy("toy-gpt2"), toy("toy-distilgpt2")
    found = fingerprint(*pair, (batch, batch), kinds=["flip"], bootstrap=0, resume=shards)
    assert found.student.kinds == ("flip",) and found.scores["F"].ci95 is None and found.noise is None
    assert any("one counterfactual kind only" in notice for notice in found.notices)
    assert found.F == pytest.approx(
        fingerprint(*pair, load_task("ioi"), kinds=["flip"], n_prompts=PROMPTS, bootstrap=0, resume=shards).F, abs=1e-5
    )
    with pytest.raises(OptionError, match="no counterfactuals of kind 'flop'"):
        fingerprint(*pair, (batch, batch), kinds=["flop"])


@pytest.mark.parametrize("option", ["bootstrap", "random_students"])
def test_numbers_below_nothing_are_refused(option):
    with pytest.raises(OptionError, match="-1 is too small"):
        fingerprint(toy("toy-gpt2"), toy("toy-gpt2"), load_task("ioi"), **{option: -1})


def test_fingerprints_of_other_prompts_are_refused():
    model = toy("toy-distilgpt2")
    one = fingerprints(model, batch_of("ioi", 8))
    other = replace(one, prompt_index=tuple(i + 1 for i in one.prompt_index))
    with pytest.raises(OptionError, match="different prompts"):
        compared(one, other)
    with pytest.raises(OptionError, match="different groups"):
        compared(one, replace(one, groups=(*one.groups[:-1], "elsewhere")))
