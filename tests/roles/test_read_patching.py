"""Patterns and values of corrupted prompts in clean ones, against hooks and attention loops on the raw modules."""

from dataclasses import replace

import pytest
import torch
from brute_force import ablated_logit_diff, intervened_logits, token_batch
from brute_force import read as read_component
from hand_reads import read, value

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.models.loading import load_model
from circuitkit.roles.places import Places, places_from_keys
from circuitkit.roles.read_patching import direct_ov_effects, ov_effects, qk_effects
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task

EXACT = {"atol": 1e-4, "rtol": 0}


def _places(batch, is_causal, seed=0):
    """Random queries and keys, none in the last prompt."""
    generator = torch.Generator().manual_seed(seed)
    n, length = batch.clean.ids.shape
    at = torch.arange(length)
    may = batch.clean.mask[:, None, :] & batch.clean.mask[:, :, None]
    may = may & (at <= at[:, None]) if is_causal else may
    keys = (torch.rand(n, length, length, generator=generator) < 0.4) & may
    keys &= torch.rand(n, length, 1, generator=generator) < 0.5
    keys[torch.arange(n), batch.clean.answer_pos] |= may[torch.arange(n), batch.clean.answer_pos] & (at == 1)
    keys[-1] = False
    return places_from_keys(keys)


def _new_z(model, batch, places, head, which):
    """New z of one head at every query, by loops over queries and keys."""
    raw, d_head = model.raw, model.info.d_head
    new = torch.zeros(*batch.clean.ids.shape, d_head)
    for row in range(len(new)):
        mask = batch.clean.mask[row]
        here, there = (read(raw, block.ids[row][mask]) for block in (batch.clean, batch.corrupted))
        patterns = [side[1][head.layer][head.head] for side in (here, there)]
        values = [value(raw, head.layer, head.head, side[0][head.layer]) for side in (here, there)]
        for query in range(int(mask.sum())):
            for key in range(int(mask.sum())):
                if which == "qk":
                    new[row, query] += patterns[1][query, key] * values[0][key]
                else:
                    new[row, query] += patterns[0][query, key] * values[int(places.keys[row, query, key])][key]
    return new


def _by_hand(model, batch, places, head, which, *, direct=False):
    """The fall with that z; direct: at the answer alone, and all that is computed later is what it was."""
    raw, family = model.raw, model.info.family
    row, queries = torch.arange(len(batch.pairs)), places.queries.clone()
    edits = {}
    if direct:
        at_answer = torch.zeros_like(queries)
        at_answer[row, batch.clean.answer_pos] = True
        queries &= at_answer
        later = [c for c in model.components if c.layer > head.layer or (c.layer == head.layer and c.head is None)]
        edits = {c: (read_component(raw, family, c, batch.clean), None) for c in later}
    edits[head] = (_new_z(model, batch, places, head, which), queries)
    logits = intervened_logits(raw, family, edits, batch.clean)
    changed = logits[row, batch.correct_ids] - logits[row, batch.incorrect_ids]
    return ablated_logit_diff(raw, model.info.family, None, batch, "zero") - changed


@pytest.mark.parametrize("which", ["qk", "ov"])
def test_effects_are_those_of_hooks_on_the_raw_model(tiny_model, which):
    batch = token_batch(
        tiny_model.info.vocab_size, [[6, 6, 9, 9], [7, 7, 12]], seed=3, answer_inside=not tiny_model.is_causal
    )
    places = _places(batch, tiny_model.is_causal)
    heads = [Component(1, 2), Component(0, 1), Component(tiny_model.info.n_layers - 1, 3), Component(0, 0)]
    found = (qk_effects if which == "qk" else ov_effects)(tiny_model, batch, places, heads)
    for number, head in enumerate(heads):
        expected = _by_hand(tiny_model, batch, places, head, which)
        torch.testing.assert_close(found[number], expected, **EXACT)
        assert expected[:-1].abs().max() > 1e-2, "too small to tell apart"
    assert (found[:, -1] == 0).all()


def test_direct_effects_leave_later_components_as_they_were(tiny_model):
    batch = token_batch(
        tiny_model.info.vocab_size, [[6, 6, 9, 9], [7, 7, 12]], seed=3, answer_inside=not tiny_model.is_causal
    )
    places = _places(batch, tiny_model.is_causal)
    places.keys[0, batch.clean.answer_pos[0]] = False
    places = places_from_keys(places.keys)
    heads = [Component(1, 2), Component(0, 1), Component(tiny_model.info.n_layers - 1, 3)]
    found = direct_ov_effects(tiny_model, batch, places, heads)
    whole = ov_effects(tiny_model, batch, places, heads)
    for number, head in enumerate(heads):
        torch.testing.assert_close(found[number], _by_hand(tiny_model, batch, places, head, "ov", direct=True), **EXACT)
    assert (found - whole).abs().amax(1)[:2].min() > 1e-3, "nothing later changes anything"
    assert (found[:, [0, -1]] == 0).all() and found[:, 1:-1].abs().max() > 1e-2


@pytest.mark.parametrize("name", ["toy-gpt2", "toy-bert", "toy-distilbert", "toy-llama"])
def test_effects_on_trained_models(name):
    model = load_model(name)
    batch = build_batch(load_task("ioi"), model, n_prompts=6)
    places = _places(batch, model.is_causal, seed=1)
    heads = [Component(0, 1), Component(model.info.n_layers - 1, 0)]
    for which, effects in (("qk", qk_effects), ("ov", ov_effects)):
        found = effects(model, batch, places, heads, batch_size=4)
        for number, head in enumerate(heads):
            torch.testing.assert_close(found[number], _by_hand(model, batch, places, head, which), **EXACT)
    found = direct_ov_effects(model, batch, places, heads, batch_size=4)
    for number, head in enumerate(heads):
        torch.testing.assert_close(found[number], _by_hand(model, batch, places, head, "ov", direct=True), **EXACT)


def test_partners_that_are_the_same_and_roles_without_keys_change_nothing(tiny_model):
    batch = token_batch(tiny_model.info.vocab_size, [[6, 6, 6]], seed=1)
    same = replace(batch, corrupted=batch.clean)
    places = _places(batch, tiny_model.is_causal)
    for effects in (qk_effects, ov_effects):
        torch.testing.assert_close(effects(tiny_model, same, places, [Component(0, 0)]), torch.zeros(1, 3), **EXACT)
    none = Places(queries=places.queries, keys=torch.zeros_like(places.keys), defined=torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(ov_effects(tiny_model, batch, none, [Component(0, 0)]), torch.zeros(1, 3), **EXACT)


def test_what_cannot_be_patched_is_said(tiny_models):
    model = tiny_models["gpt2"]
    batch = token_batch(model.info.vocab_size, [[6, 6]])
    places = _places(batch, True)
    with pytest.raises(OptionError, match="no corrupted prompts"):
        qk_effects(model, replace(batch, corrupted=None), places, [Component(0, 0)])
    with pytest.raises(OptionError, match="other lengths"):
        ov_effects(model, replace(batch, positional=False), places, [Component(0, 0)])
    with pytest.raises(OptionError, match="MLP1 has no pattern"):
        ov_effects(model, batch, places, [Component(1)])
