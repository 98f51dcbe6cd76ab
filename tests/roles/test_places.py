"""Where roles read, worked out by hand on short prompts."""

import json
from dataclasses import replace

import pytest
import torch

from circuitkit.core.errors import OptionError
from circuitkit.models.loading import load_model
from circuitkit.roles import label_places, places, repeated_labels
from circuitkit.roles.catalogue import ROLES
from circuitkit.roles.shuffled_text import shuffled_text
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task


@pytest.fixture(scope="module")
def gpt2():
    return load_model("toy-gpt2")


@pytest.fixture(scope="module")
def bert():
    return load_model("toy-bert")


def _written(tmp_path, model, *rows):
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corrupted = any("corrupted" in row for row in rows)
    return build_batch(load_task(file), model, n_prompts=len(rows), need_corrupted=corrupted)


def _named(model, batch, found, row=0):
    tokens = [model.tokenizer.decode([i]).strip() for i in batch.clean.ids[row].tolist()]
    return [(tokens[q], q, tokens[k], k) for q, k in found.keys[row].nonzero().tolist()]


def test_token_places_by_hand(tmp_path, gpt2):
    batch = _written(tmp_path, gpt2, {"clean": "Mary and John. Mary met", "correct": " Kevin", "incorrect": " Mary"})
    # tokens: 0 Mary  1 and  2 John  3 .  4 Mary  5 met; the first word has no space and may be another token
    ids = batch.clean.ids.clone()
    ids[0, 0] = ids[0, 4]
    batch = replace(batch, clean=replace(batch.clean, ids=ids))
    assert ids.shape == (1, 6)
    assert [x[1::2] for x in _named(gpt2, batch, places.duplicate_token(gpt2, batch))] == [(4, 0)]
    assert [x[1::2] for x in _named(gpt2, batch, places.induction(gpt2, batch))] == [(4, 1)]
    before = [x[1::2] for x in _named(gpt2, batch, places.previous_token(gpt2, batch))]
    assert before == [(i, i - 1) for i in range(1, 6)]


def test_masked_models_look_both_ways_and_special_tokens_are_left_out(tmp_path, bert):
    row = {"clean": "Mary and John. Mary met [MASK]", "correct": " Kevin", "incorrect": " Mary"}
    batch = _written(tmp_path, bert, row)
    # 0 [CLS]  1 mary  2 and  3 john  4 .  5 mary  6 met  7 [MASK]  8 [SEP]
    assert batch.clean.ids.shape == (1, 9) and batch.clean.answer_pos.tolist() == [7]
    assert [x[1::2] for x in _named(bert, batch, places.duplicate_token(bert, batch))] == [(1, 5), (5, 1)]
    assert [x[1::2] for x in _named(bert, batch, places.induction(bert, batch))] == [(1, 6), (5, 2)]
    before = [x[1::2] for x in _named(bert, batch, places.previous_token(bert, batch))]
    assert before == [(i, i - 1) for i in range(2, 7)]


def test_ioi_labels(gpt2):
    batch = build_batch(load_task("ioi"), gpt2, n_prompts=40)
    rows = range(40)
    movers = label_places.end_reads_answer(gpt2, batch)
    doubled = label_places.end_reads_repeated(gpt2, batch)
    for found, label in ((movers, "IO"), (doubled, "S2")):
        assert bool(found.defined.all())
        wanted = [[(int(batch.label_positions["END"][i]), int(batch.label_positions[label][i]))] for i in rows]
        assert [list(map(tuple, found.keys[i].nonzero().tolist())) for i in rows] == wanted
    assert not any(label_places.elements(batch))
    assert int(label_places.end_reads_labels(gpt2, batch).keys.sum()) == 3 * 40


def test_repeated_labels_are_read_and_nothing_else(gpt2, bert):
    """S2 reads S1 and what follows it; in masked models S1 reads S2 too. Function words that repeat do not count."""
    for model in (gpt2, bert):
        batch = build_batch(load_task("ioi"), model, n_prompts=40)
        at = batch.label_positions
        for function, ahead in ((repeated_labels.duplicate_token, 0), (repeated_labels.induction, 1)):
            found = function(model, batch)
            assert found.rule == "at labels that repeat an earlier label's word" and bool(found.defined.all())
            for row in range(40):
                s1, s2 = int(at["S1"][row]), int(at["S2"][row])
                wanted = {(s2, s1 + ahead)} | (set() if model.is_causal else {(s1, s2 + ahead)})
                assert set(map(tuple, found.keys[row].nonzero().tolist())) == wanted
        every = places.duplicate_token(model, batch)
        assert every.keys.sum() > repeated_labels.duplicate_token(model, batch).keys.sum()


@pytest.mark.parametrize("function", ["duplicate_token", "induction"])
def test_without_repeated_labels_every_repeated_token_reads(tmp_path, gpt2, function):
    batch = build_batch(load_task("numerals"), gpt2, n_prompts=20)
    found, every = (getattr(module, function)(gpt2, batch) for module in (repeated_labels, places))
    assert torch.equal(found.keys, every.keys) and bool(every.keys.any())
    assert found.rule == "at every token that occurred before, because no labels repeat a word"
    row = {"clean": "Then Mary met Mary and", "correct": " Kevin", "incorrect": " Mary"}
    same = row | {"labels": {"A": [5, 9], "B": [14, 18]}}
    other = {"clean": "Then Mary met John and", "correct": " Kevin", "incorrect": " Mary", "labels": same["labels"]}
    also = same | {"clean": "Then John met John and", "incorrect": " John"}
    most = _written(tmp_path, gpt2, same, also, other)
    assert getattr(repeated_labels, function)(gpt2, most).defined.tolist() == [True, True, False]
    few = _written(tmp_path, gpt2, same, other)
    assert torch.equal(getattr(repeated_labels, function)(gpt2, few).keys, getattr(places, function)(gpt2, few).keys)


@pytest.mark.parametrize("task", ["numerals", "months"])
def test_sequences_are_found_by_rule(gpt2, task):
    batch = build_batch(load_task(task), gpt2, n_prompts=20)
    assert label_places.elements(batch) == [["n1", "n2", "n3", "n4"]] * 20
    at = {label: batch.label_positions[label] for label in ("n1", "n2", "n3", "n4", "END")}
    found = label_places.elements_read_earlier(gpt2, batch, "corrupted")
    wanted = {(int(at[f"n{i}"][3]), int(at[f"n{j}"][3])) for i in range(2, 5) for j in range(1, i)}
    assert set(map(tuple, found.keys[3].nonzero().tolist())) == wanted
    last = label_places.end_reads_last_element(gpt2, batch)
    assert last.keys[3].nonzero().tolist() == [[int(at["END"][3]), int(at["n4"][3])]]
    assert not bool(label_places.end_reads_answer(gpt2, batch).defined.any())


def test_other_tasks_are_no_sequences(gpt2):
    batch = build_batch(load_task("greater-than"), gpt2, n_prompts=60)
    assert not any(label_places.elements(batch))  # in a few prompts the distractor happens to be the starting year


def test_keys_can_be_read(gpt2, bert):
    for model in (gpt2, bert, load_model("toy-llama")):
        for task in ("ioi", "numerals", "greater-than"):
            batch = build_batch(load_task(task), model, n_prompts=12)
            for role in ROLES.values():
                found = role.places(model, batch, role.side)
                block = places.side_of(batch, role.side)
                assert not bool((found.keys & ~places.readable(model, block)).any()), role.name
                assert torch.equal(found.queries, found.keys.any(2))
                assert torch.equal(found.defined, found.queries.any(1))
                if model.is_causal:
                    assert not bool(found.keys.triu().any())


def test_a_written_corrupted_prompt_must_have_its_labels_in_the_same_places(tmp_path, gpt2):
    clean = "Van done in 1. Hat done in 2. Sun done in"
    spans = {"a": [12, 13], "b": [27, 28]}
    assert [clean[s:e] for s, e in spans.values()] == ["1", "2"]
    row = {"clean": clean, "correct": " 3", "incorrect": " 2", "labels": spans}
    same = {"corrupted": clean.replace("1.", "7.").replace("2.", "4."), "corrupted_labels": spans}
    batch = _written(tmp_path, gpt2, row | same)
    assert label_places.elements_read_earlier(gpt2, batch, "corrupted").keys.sum() == 1
    batch = _written(tmp_path, gpt2, row | {"corrupted": same["corrupted"]})
    assert not label_places.elements_read_earlier(gpt2, batch, "corrupted").defined.any()
    batch = _written(tmp_path, gpt2, row)
    with pytest.raises(OptionError, match="no corrupted prompts"):
        label_places.elements_read_earlier(gpt2, batch, "corrupted")


def test_shuffled_text_is_said_twice_in_the_same_frame(bert):
    batch = build_batch(load_task("ioi"), bert, n_prompts=10)
    found = shuffled_text(batch, seed=3)
    pool = set(batch.clean.ids[batch.clean.words >= 0].tolist())
    for row in range(10):
        text = batch.clean.words[row] >= 0
        said = found.clean.ids[row, text].tolist()
        half = len(said) // 2
        assert said[:half] == said[half : 2 * half]
        assert len({*said[:half], *said[2 * half :]}) == half + len(said) % 2
        assert set(said) <= pool
        assert torch.equal(found.clean.ids[row, ~text], batch.clean.ids[row, ~text])
    assert not torch.equal(found.clean.ids, shuffled_text(batch, seed=4).clean.ids)
    assert int(places.induction(bert, found).defined.sum()) == 10


def test_two_tokens_are_too_few_to_shuffle(tmp_path, gpt2):
    batch = _written(tmp_path, gpt2, {"clean": "Mary met", "correct": " Kevin", "incorrect": " Mary"})
    assert shuffled_text(batch, seed=0) is None
