"""The sweep against ablation by hand on the raw modules, prompt by prompt without padding."""

import copy
from itertools import pairwise

import pytest
import torch
from brute_force import ablated_logit_diff, token_batch

from circuitkit.core.component import Component
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.run_directory import ShardStore
from circuitkit.interventions import engine
from circuitkit.interventions.ablation import Ablation, parse_ablation
from circuitkit.interventions.rows import clean_logit_diff
from circuitkit.interventions.sweep import sweep
from circuitkit.interventions.sweep_key import sweep_key

LENGTHS = {"one length": [[9] * 5], "padded": [[6, 6, 9, 9], [7, 7, 7, 12]], "single prompt": [[8]]}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("ablation", list(Ablation))
def test_equals_brute_force(tiny_model, ablation, lengths):
    batch = token_batch(tiny_model.info.vocab_size, lengths)
    result = sweep(tiny_model, batch, ablation=ablation)
    family, raw = tiny_model.info.family, tiny_model.raw
    torch.testing.assert_close(result.clean, ablated_logit_diff(raw, family, None, batch, ablation), atol=1e-4, rtol=0)
    for row, component in enumerate(result.components):
        expected = ablated_logit_diff(raw, family, component, batch, ablation)
        torch.testing.assert_close(result.ablated[row], expected, atol=1e-4, rtol=0, msg=str(component))
    moved = (result.ablated - result.clean).abs().max()
    # the mean of a single clean prompt is that prompt
    assert moved < 1e-5 if ablation is Ablation.MEAN and len(batch.pairs) == 1 else moved > 0.01


@pytest.mark.parametrize("ablation", [Ablation.CORRUPTED_MEAN, Ablation.MEAN, Ablation.RESAMPLE])
def test_pooled_equals_brute_force(tiny_model, ablation):
    batch = token_batch(tiny_model.info.vocab_size, [[5, 9, 7, 12]], positional=False)
    result = sweep(tiny_model, batch, ablation=ablation)
    for row, component in enumerate(result.components):
        expected = ablated_logit_diff(tiny_model.raw, tiny_model.info.family, component, batch, ablation)
        torch.testing.assert_close(result.ablated[row], expected, atol=1e-4, rtol=0, msg=str(component))


def test_numbers_do_not_depend_on_how_the_work_is_cut(tiny_model, monkeypatch):
    batch = token_batch(tiny_model.info.vocab_size, [[6, 6, 9, 9], [7, 7, 7, 12]])
    whole = sweep(tiny_model, batch)
    monkeypatch.setattr(engine, "PROMPTS_PER_SHARD", 3)
    for batch_size in (1, 7, 1000):
        cut = sweep(tiny_model, batch, batch_size=batch_size)
        torch.testing.assert_close(cut.ablated, whole.ablated, atol=1e-4, rtol=0)
        torch.testing.assert_close(cut.clean, whole.clean, atol=1e-4, rtol=0)


def test_rows_follow_the_components_asked_for(tiny_model):
    batch = token_batch(tiny_model.info.vocab_size, [[8] * 3])
    whole = sweep(tiny_model, batch)
    asked = (Component(1), Component(0, 2), Component(1, 3), Component(0))
    some = sweep(tiny_model, batch, components=asked)
    for row, component in enumerate(asked):
        expected = whole.ablated[whole.components.index(component)]
        torch.testing.assert_close(some.ablated[row], expected, atol=1e-5, rtol=0)


def test_clean_values_are_the_models_own(tiny_model):
    batch = token_batch(tiny_model.info.vocab_size, [[6, 6, 9, 9]])
    torch.testing.assert_close(clean_logit_diff(tiny_model, batch), sweep(tiny_model, batch).clean, atol=1e-5, rtol=0)


def test_out_of_memory_halves_the_rows(tiny_models, monkeypatch):
    model = tiny_models["gpt2"]
    batch = token_batch(model.info.vocab_size, [[8] * 3])
    whole, true_run, sizes = sweep(model, batch), engine.Replay.run, []

    def fails_above_two(self, units, values, tokens=None, *, alike=None):
        sizes.append(len(units))
        if len(units) > 2:
            raise torch.OutOfMemoryError
        return true_run(self, units, values, tokens, alike=alike)

    monkeypatch.setattr(engine.Replay, "run", fails_above_two)
    torch.testing.assert_close(sweep(model, batch).ablated, whole.ablated, atol=1e-5, rtol=0)
    assert max(sizes) > 2


def test_finished_shards_are_not_run_again(tiny_models, tmp_path, monkeypatch):
    model = tiny_models["llama"]
    batch = token_batch(model.info.vocab_size, [[8] * 4, [5] * 4])
    monkeypatch.setattr(engine, "PROMPTS_PER_SHARD", 2)
    whole = sweep(model, batch)
    seen = []

    def stop_past_half(stage, done, total):
        if stage == "sweep":
            seen.append(done / total)
            if done > total / 2:
                raise KeyboardInterrupt

    store = ShardStore(tmp_path, _key(model, batch, Ablation.CORRUPTED_MEAN))
    with pytest.raises(KeyboardInterrupt):
        sweep(model, batch, store=store, progress=stop_past_half)
    assert seen[0] == 0
    assert {0.25, 0.5} <= set(seen)
    assert 0.5 < seen[-1] < 0.75  # within the third shard
    runs, true_shard = [], engine._prompts
    monkeypatch.setattr(engine, "_prompts", lambda *a, **k: runs.append(1) or true_shard(*a, **k))
    told = []
    resumed = sweep(model, batch, store=store, progress=lambda *report: told.append((len(runs), *report)))
    assert len(runs) == 2
    total = told[0][-1]
    assert told[:2] == [(0, "sweep", 0, total), (0, "sweep", total // 2, total)]  # before anything is run again
    torch.testing.assert_close(resumed.ablated, whole.ablated, atol=1e-6, rtol=0)


def _reports(model, batch, **options):
    """What a sweep reports of itself, as (done, total)."""
    told = []
    sweep(model, batch, progress=lambda stage, *now: told.append(now) if stage == "sweep" else None, **options)
    return told


@pytest.mark.parametrize("batch_size", ["auto", 1, 5])
def test_progress_is_told_from_the_start_and_within_a_shard(tiny_model, batch_size):
    batch = token_batch(tiny_model.info.vocab_size, [[8] * 4, [5] * 4])  # one shard
    n_layers = tiny_model.info.n_layers
    total = sum(n_layers - c.layer for c in tiny_model.components) * 8
    told = _reports(tiny_model, batch, batch_size=batch_size)
    done = [now for now, _ in told]
    assert {of for _, of in told} == {total}
    assert (done[0], done[-1]) == (0, total)
    assert all(earlier < later for earlier, later in pairwise(done))
    assert len(done) > n_layers  # one a stack at least
    if batch_size == 1:
        costs = {later - earlier for earlier, later in pairwise(done)}
        assert len(done) == 1 + 8 * len(tiny_model.components)  # one a component and prompt
        assert costs == {n_layers - c.layer for c in tiny_model.components}


def test_work_that_is_done_twice_is_told_once(tiny_models, monkeypatch):
    """Memory runs out in the midst of a shard, which is then run in halves."""
    model = tiny_models["gpt2"]
    batch = token_batch(model.info.vocab_size, [[8] * 8])
    true_run = engine.Replay.run

    def fails_late(self, units, values, tokens=None, *, alike=None):
        if len(self.rows.ids) > 4 and units[0].first_layer == model.info.n_layers - 1:
            raise torch.OutOfMemoryError
        return true_run(self, units, values, tokens, alike=alike)

    whole = sweep(model, batch).ablated
    told = _reports(model, batch)
    monkeypatch.setattr(engine.Replay, "run", fails_late)
    again = _reports(model, batch)
    done = [now for now, _ in again]
    assert all(earlier < later for earlier, later in pairwise(done))
    assert (again[0], again[-1]) == (told[0], told[-1])
    torch.testing.assert_close(sweep(model, batch).ablated, whole, atol=1e-5, rtol=0)


def _key(model, batch, ablation=Ablation.ZERO, *, components=None, version="1"):
    return sweep_key(model, batch, ablation, components=components or model.components, versions={"torch": version})


def test_key_tells_apart_what_changes_numbers(tiny_models):
    model = tiny_models["gpt2"]
    batch = token_batch(model.info.vocab_size, [[8] * 4])
    activation, half = copy.deepcopy(model), copy.deepcopy(model)
    activation.raw.config.activation_function = "relu"
    half.raw.to(torch.bfloat16)
    keys = {
        _key(model, batch),
        _key(model, batch, Ablation.MEAN),
        _key(model, token_batch(model.info.vocab_size, [[8] * 4], seed=1)),
        _key(model, batch, version="2"),
        _key(model, batch, components=model.components[::-1]),
        _key(model.with_random_weights(3), batch),
        _key(activation, batch),
        _key(half, batch),
    }
    assert len(keys) == 8
    assert _key(model, batch) == _key(copy.deepcopy(model), batch)


def test_batch_size_bounds_the_rows(tiny_models, monkeypatch):
    model, seen = tiny_models["gpt2"], []
    batch = token_batch(model.info.vocab_size, [[8] * 5])
    true_run = engine.Replay.run

    def counted(self, units, values, tokens=None, *, alike=None):
        seen.append(len(units) * len(self.rows.ids))
        return true_run(self, units, values, tokens, alike=alike)

    monkeypatch.setattr(engine.Replay, "run", counted)
    for batch_size in (1, 3, 12):
        seen.clear()
        sweep(model, batch, batch_size=batch_size)
        assert max(seen) <= batch_size
        assert sum(seen) == len(model.components) * 5


def test_half_precision_stays_near(tiny_model):
    """bfloat16 has 8 bits: an error of a few percent of the largest logit difference, no more."""
    batch = token_batch(tiny_model.info.vocab_size, [[8] * 4])
    half = copy.deepcopy(tiny_model)
    half.raw.to(torch.bfloat16)
    exact, rough = sweep(tiny_model, batch), sweep(half, batch)
    assert (exact.ablated - rough.ablated).abs().max() < 0.1 * exact.ablated.abs().max()


def test_numbers_that_are_not_finite_are_refused_and_not_kept(tiny_models, tmp_path):
    model = copy.deepcopy(tiny_models["gpt2"])
    batch = token_batch(model.info.vocab_size, [[8] * 4])
    with torch.no_grad():
        model.raw.transformer.ln_f.weight.fill_(3e38)
    with pytest.raises(ModelError, match="not finite numbers in torch.float32"):
        sweep(model, batch, store=ShardStore(tmp_path, "key"))
    assert not list(tmp_path.iterdir())


def test_running_out_of_memory_is_one_line(tiny_models, monkeypatch):
    def full(self, units, values, tokens=None, *, alike=None):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(engine.Replay, "run", full)
    model = tiny_models["gpt2"]
    with pytest.raises(OptionError, match="Out of memory on cpu .* at one row at a time"):
        sweep(model, token_batch(model.info.vocab_size, [[8] * 4]))


def test_bad_options_are_named(tiny_models):
    batch = token_batch(tiny_models["gpt2"].info.vocab_size, [[8] * 2])
    with pytest.raises(OptionError, match=r"'avg' unknown; choose one of corrupted-mean, mean, resample, zero"):
        parse_ablation("avg")
    with pytest.raises(OptionError, match="Batch size 0"):
        sweep(tiny_models["gpt2"], batch, batch_size=0)
