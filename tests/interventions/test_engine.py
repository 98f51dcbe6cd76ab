"""Interventions of every kind against hooks placed by hand on the raw modules, prompt by prompt without padding."""

import copy
from dataclasses import replace

import pytest
import torch
from brute_force import intervened_logits, read, replacement_value, token_batch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import Intervention, at_each_position, replace_components
from circuitkit.interventions.noise import noise
from circuitkit.interventions.replacement import replacement, taken_from
from circuitkit.interventions.replay import Replay
from circuitkit.interventions.rows import take

EXACT = {"atol": 1e-4, "rtol": 0}
SETS = [
    (Component(0, 1), Component(0, 2)),
    (Component(0), Component(1, 3)),
    (Component(0, 0), Component(0), Component(1, 0), Component(1)),
    (Component(1, 2), Component(1)),
]


def _batch(model, *, seed=0, shared=0):
    """Prompts of two templates with padding; the first `shared` tokens are the same in all of them."""
    batch = token_batch(model.info.vocab_size, [[6, 6, 9, 9], [7, 7, 7, 12]], seed=seed)
    for block in (batch.clean, batch.corrupted):
        block.ids[:, :shared] = torch.arange(5, 5 + shared)
    return batch


def _by_hand(model, batch, edits, base="clean"):
    block = batch.clean if base == "clean" else batch.corrupted
    logits = intervened_logits(model.raw, model.info.family, edits, block)
    row = torch.arange(len(logits))
    return logits[row, batch.correct_ids] - logits[row, batch.incorrect_ids]


@pytest.mark.parametrize("shared", [0, 3])
@pytest.mark.parametrize("ablation", list(Ablation))
def test_components_replaced_together(tiny_model, ablation, shared):
    batch = _batch(tiny_model, shared=shared)
    runs = run_interventions(tiny_model, batch, [replace_components(*some) for some in SETS], source=ablation)
    for row, some in enumerate(SETS):
        values = {c: replacement_value(tiny_model.raw, tiny_model.info.family, c, batch, ablation) for c in some}
        expected = _by_hand(tiny_model, batch, {c: (value, None) for c, value in values.items()})
        torch.testing.assert_close(runs.changed[row], expected, **EXACT)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), shared=st.integers(0, 5))
def test_random_places_of_random_sets(tiny_model, seed, shared):
    """Per-row ablations and patches at random positions, of different components in one run."""
    batch, generator = _batch(tiny_model, shared=shared), torch.Generator().manual_seed(seed)
    shapes = [(8, 1), (1, 12), (8, 12)]
    units = []
    for _ in range(5):
        picked = torch.randperm(len(tiny_model.components), generator=generator)[:3].tolist()
        edits = {
            tiny_model.components[c]: torch.rand(shapes[i], generator=generator) < 0.5 for i, c in enumerate(picked)
        }
        units.append(Intervention(edits=edits))
    runs = run_interventions(tiny_model, batch, units, source=Ablation.RESAMPLE)
    for row, unit in enumerate(units):
        edits = {
            c: (read(tiny_model.raw, tiny_model.info.family, c, batch.corrupted), where.expand(8, 12))
            for c, where in unit.edits.items()
        }
        torch.testing.assert_close(runs.changed[row], _by_hand(tiny_model, batch, edits), **EXACT)


@pytest.mark.parametrize("base", ["clean", "corrupted"])
def test_activation_patching_in_both_directions(tiny_model, base):
    batch = _batch(tiny_model, shared=2)
    into, out_of = (batch.clean, batch.corrupted) if base == "clean" else (batch.corrupted, batch.clean)
    some = (Component(0, 2), Component(1))
    units = at_each_position(some, 12)
    runs = run_interventions(tiny_model, batch, units, source="resample", base=base)
    torch.testing.assert_close(runs.clean, _by_hand(tiny_model, batch, {}, base), **EXACT)
    changed = runs.changed.view(2, 12, -1)
    for i, component in enumerate(some):
        value = read(tiny_model.raw, tiny_model.info.family, component, out_of)
        for pos in range(12):
            where = (torch.arange(12) == pos).expand(8, 12)
            torch.testing.assert_close(
                changed[i, pos], _by_hand(tiny_model, batch, {component: (value, where)}, base), **EXACT
            )


@pytest.mark.parametrize("ablation", [Ablation.MEAN, Ablation.CORRUPTED_MEAN, Ablation.ZERO])
def test_means_go_into_corrupted_prompts_too(tiny_model, ablation):
    """Here the corrupted prompts part from the clean ones before the clean ones part from each other."""
    batch = _batch(tiny_model, shared=3)
    batch.corrupted.ids[:, 1] = 9
    for component in (Component(0, 1), Component(1)):
        value = replacement_value(tiny_model.raw, tiny_model.info.family, component, batch, ablation)
        unit = [replace_components(component)]
        runs = run_interventions(tiny_model, batch, unit, source=ablation, base="corrupted")
        wanted = _by_hand(tiny_model, batch, {component: (value, None)}, "corrupted")
        torch.testing.assert_close(runs.changed[0], wanted, **EXACT)


def test_positions_that_cannot_change_are_not_run(tiny_models):
    """Causal: the window starts at the first differing token or the first patched position. Encoders: at 0."""
    for name, model in tiny_models.items():
        batch, rows = _batch(model, shared=3), torch.arange(2)
        replay = Replay(model, take(batch.clean, rows, model))
        unit = replace_components(Component(0, 0))
        patch = replace_components(Component(0, 0), where=(torch.arange(6) == 4)[None])
        started = {ablation: replay.start(unit, replacement(model, batch, ablation)(rows, 6)) for ablation in Ablation}
        causal = name in ("gpt2", "llama")
        assert started == {
            Ablation.CORRUPTED_MEAN: 3 * causal,
            Ablation.MEAN: 3 * causal,
            Ablation.RESAMPLE: 3 * causal,
            Ablation.ZERO: 0,
        }
        assert replay.start(patch, replacement(model, batch, Ablation.RESAMPLE)(rows, 6)) == 4 * causal


def test_prompts_that_are_all_alike_change_nothing(tiny_model):
    batch = _batch(tiny_model)
    same = replace(batch, corrupted=batch.clean)
    units = [replace_components(c) for c in tiny_model.components]
    runs = run_interventions(tiny_model, same, units, source=Ablation.RESAMPLE)
    torch.testing.assert_close(runs.changed, runs.clean.expand_as(runs.changed), **EXACT)


def test_metrics_are_those_of_the_whole_vocabulary(tiny_model):
    batch = _batch(tiny_model)
    some = (Component(0, 1), Component(1))
    edits = {
        c: (replacement_value(tiny_model.raw, tiny_model.info.family, c, batch, Ablation.MEAN), None) for c in some
    }
    family, row = tiny_model.info.family, torch.arange(8)
    here, there = (intervened_logits(tiny_model.raw, family, e, batch.clean) for e in (edits, {}))
    p, q = there.softmax(-1), here.softmax(-1)
    expected = {
        "kl": (p * (p.log() - q.log())).sum(-1),
        "probability": q[row, batch.correct_ids],
        "top1": (here.argmax(-1) == batch.correct_ids).float(),
        "logit_diff": here[row, batch.correct_ids] - here[row, batch.incorrect_ids],
    }
    for metric, value in expected.items():
        runs = run_interventions(tiny_model, batch, [replace_components(*some)], source=Ablation.MEAN, metric=metric)
        torch.testing.assert_close(runs.changed[0], value, **EXACT)
    assert float(run_interventions(tiny_model, batch, [], source=Ablation.ZERO, metric="kl").clean.abs().max()) < 1e-6


def test_noise_is_gaussian_of_the_asked_size_and_the_same_however_it_is_run(tiny_model):
    batch, rows = _batch(tiny_model), torch.arange(8)
    drawn = noise(tiny_model, batch.clean, sd=0.5, seed=3)(rows, 12)
    clean = tiny_model.capture(batch.clean.ids, batch.clean.mask, ("z", "mlp_out"))
    for new, old in ((drawn.z(1), clean["z"][1]), (drawn.mlp(0), clean["mlp_out"][0])):
        added = (new - old)[batch.clean.mask].flatten()
        assert abs(added.mean()) < 5 * 0.5 / len(added) ** 0.5
        assert abs(added.std() - 0.5) < 0.03
    alone = noise(tiny_model, batch.clean, sd=0.5, seed=3)(rows[5:], 12)
    torch.testing.assert_close(alone.mlp(1), drawn.mlp(1)[5:], atol=1e-5, rtol=0)
    unit, source = replace_components(Component(0, 1), Component(1)), noise(tiny_model, batch.clean, sd=0.5, seed=3)
    edits = {Component(0, 1): (drawn.z(0)[:, :, 1], None), Component(1): (_on_noisy(tiny_model, batch, drawn), None)}
    run = run_interventions(tiny_model, batch, [unit], source=source, batch_size=3)
    # the second component's value is its clean one with noise, as for every replacement
    torch.testing.assert_close(run.changed[0], _by_hand(tiny_model, batch, edits), **EXACT)


def test_noise_differs_by_seed_prompt_block_and_kind(tiny_model):
    block, rows = _batch(tiny_model).clean, torch.arange(8)
    zero = noise(tiny_model, block, sd=0.0, seed=0)(rows, 12)
    width = min(zero.z(0).flatten(2).shape[-1], zero.mlp(0).shape[-1])

    def added(seed):
        values = noise(tiny_model, block, sd=1.0, seed=seed)(rows, 12)
        pairs = [(getattr(values, kind)(n), getattr(zero, kind)(n)) for kind in ("z", "mlp") for n in (0, 1)]
        return [(new - old).flatten(2)[row, :4, :width].flatten() for new, old in pairs for row in (0, 1)]

    drawn = torch.stack([values for seed in (0, 1, 2**31) for values in added(seed)])
    assert drawn.corrcoef().sub(torch.eye(len(drawn))).abs().max() < 0.6


def _on_noisy(model, batch, drawn):
    return drawn.mlp(1)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_rows_at_a_time_change_nothing(tiny_model, batch_size):
    batch = _batch(tiny_model, shared=2)
    units = at_each_position((Component(0, 1), Component(0), Component(1, 2)), 12)
    source = taken_from(tiny_model, batch.corrupted, into=batch.clean)
    whole = run_interventions(tiny_model, batch, units, source=source)
    cut = run_interventions(tiny_model, batch, units, source=source, batch_size=batch_size)
    torch.testing.assert_close(cut.changed, whole.changed, **EXACT)


def test_bad_questions_are_one_line(tiny_models):
    model = tiny_models["gpt2"]
    batch = _batch(model)
    unit = [replace_components(Component(0))]
    with pytest.raises(OptionError, match="Metric 'loss' unknown; choose one of logit_diff, kl"):
        run_interventions(model, batch, unit, source=Ablation.ZERO, metric="loss")
    with pytest.raises(OptionError, match="no corrupted prompts to run on"):
        run_interventions(model, replace(batch, corrupted=None), unit, source=Ablation.ZERO, base="corrupted")
    with pytest.raises(OptionError, match="Base 'korrupt' unknown; choose one of clean, corrupted"):
        run_interventions(model, batch, unit, source=Ablation.ZERO, base="korrupt")
    for component in (Component(0, -1), Component(99, 0), Component(0, 77), Component(-1)):
        with pytest.raises(OptionError, match=r"is not in the model, which has 15 components, the last of them MLP2"):
            run_interventions(model, batch, [replace_components(component)], source=Ablation.ZERO)
    for shape in ((3, 1), (2, 2), (1, 9), (13, 12)):
        with pytest.raises(OptionError, match=r"these prompts take \[8 or 1, 12 or 1\]"):
            where = torch.ones(shape, dtype=torch.bool)
            run_interventions(model, batch, [replace_components(Component(0), where=where)], source=Ablation.ZERO)
    with pytest.raises(OptionError, match="Ablation 'partner' unknown; choose one of"):
        run_interventions(model, batch, unit, source="partner")
    for sd in (-1.0, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="noise is not a number from 0 up"):
            noise(model, batch.clean, sd=sd, seed=0)
    with pytest.raises(OptionError, match="Seed -1 is out of range"):
        noise(model, batch.clean, sd=1.0, seed=-1)


def test_grouped_queries_and_wide_heads(tiny_models):
    """A Llama whose key-value heads are shared by four query heads, and whose heads are wider than their share."""
    from transformers import LlamaConfig, LlamaForCausalLM

    old = tiny_models["llama"]
    config = copy.deepcopy(old.raw.config).to_dict() | {"num_key_value_heads": 1, "head_dim": 16}
    torch.manual_seed(0)
    model = type(old)(
        raw=LlamaForCausalLM(LlamaConfig(**config)), tokenizer=old.tokenizer, family=old.family, name="grouped"
    )
    batch = _batch(model, shared=2)
    for component in (Component(0, 3), Component(1, 0), Component(0)):
        value = replacement_value(model.raw, "llama", component, batch, Ablation.CORRUPTED_MEAN)
        unit = [replace_components(component)]
        runs = run_interventions(model, batch, unit, source=Ablation.CORRUPTED_MEAN)
        torch.testing.assert_close(runs.changed[0], _by_hand(model, batch, {component: (value, None)}), **EXACT)
