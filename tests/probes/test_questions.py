"""What probes are asked: the truth is in the text, classes are balanced and no content is on both sides."""

import json
import re
from collections import Counter

import pytest
import torch

from circuitkit.core.errors import OptionError
from circuitkit.models.loading import load_model
from circuitkit.probes.question import Asking
from circuitkit.probes.split import ContentKeys, balanced, held_out
from circuitkit.probes.targets import ask, default_targets
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task

TARGETS = {
    "numerals": [
        "element-1",
        "element-2",
        "element-3",
        "element-4",
        "sequence",
        "next",
        "previous",
        "prior-occurrence",
    ],
    "ioi": ["IO", "S1", "prior-occurrence"],
}
EACH = [(task, target) for task, targets in TARGETS.items() for target in targets]


@pytest.fixture(scope="module")
def model():
    return load_model("toy-gpt2")


@pytest.fixture(scope="module")
def batches(model):
    return {task: build_batch(load_task(task), model, n_prompts=480) for task in TARGETS}


def asking(**given):
    return Asking(**{"at": None, "side": "auto", "split": "auto", "n_folds": 4, "seed": 0} | given)


@pytest.mark.parametrize("task", TARGETS)
def test_every_target_of_the_task_is_offered(batches, task):
    assert list(default_targets(batches[task])) == TARGETS[task]


@pytest.mark.parametrize(("task", "target"), EACH)
def test_no_content_is_on_both_sides(model, batches, task, target):
    question = ask(model, batches[task], target, asking())
    folds = question.folds
    assert len(folds.content.keys) == len(folds.fold) == question.classes.shape[1] == len(question.rows)
    for number in range(folds.n_folds):
        held = {key for key, fold in zip(folds.content.keys, folds.fold.tolist(), strict=True) if fold == number}
        fitted = {key for key, fold in zip(folds.content.keys, folds.fold.tolist(), strict=True) if fold != number}
        assert held and fitted and not held & fitted
        for part in question.classes:
            assert set(part[folds.fold != number].tolist()) == set(part.tolist())


@pytest.mark.parametrize(("task", "target"), EACH)
def test_texts_are_on_one_side_only(model, batches, task, target):
    """By the tokens themselves: a fitted prompt is never held out too."""
    question = ask(model, batches[task], target, asking())
    texts = [tuple(question.reading.ids[row].tolist()) for row in question.rows.tolist()]
    sides = {}
    for text, fold in zip(texts, question.folds.fold.tolist(), strict=True):
        assert sides.setdefault(text, fold) == fold


@pytest.mark.parametrize(("task", "target"), [pair for pair in EACH if pair[1] != "sequence"])
def test_classes_are_balanced(model, batches, task, target):
    question = ask(model, batches[task], target, asking())
    sizes = set(Counter(question.classes[0].tolist()).values())
    assert len(sizes) == 1 and min(sizes) >= 8
    assert question.chance == pytest.approx(1 / len(question.names[0]))


def _read(model, question):
    """Text of every sample, the text up to the token that is read, and that token."""
    for row in question.rows.tolist():
        at, mask = int(question.reading.positions[row]), question.reading.mask[row]
        ids = question.reading.ids[row]
        yield tuple(model.tokenizer.decode(part) for part in (ids[mask], ids[:at], ids[at : at + 1]))


def _named(question, part=0):
    return [question.names[part][number] for number in question.classes[part].tolist()]


@pytest.mark.parametrize("number", [1, 3])
def test_elements_are_those_of_the_random_prompts(model, batches, number):
    question = ask(model, batches["numerals"], f"element-{number}", asking())
    for (text, _, read), word in zip(_read(model, question), _named(question), strict=True):
        assert re.findall(r"\d+", text)[number - 1] == word
        assert read.strip() == "in" and text.endswith(read)
    rows = [re.findall(r"\d+", text) for text, _, _ in _read(model, question)]
    assert any(int(b) - int(a) != 1 for row in rows for a, b in zip(row, row[1:], strict=False))


def test_the_whole_sequence_has_every_element_as_a_part(model, batches):
    question = ask(model, batches["numerals"], "sequence", asking())
    for i, (text, _, _) in enumerate(_read(model, question)):
        assert [names[question.classes[p, i]] for p, names in enumerate(question.names)] == re.findall(r"\d+", text)
    shares = [Counter(part.tolist()).most_common(1)[0][1] / len(part) for part in question.classes]
    assert question.chance == pytest.approx(shares[0] * shares[1] * shares[2] * shares[3])


def test_the_next_element_is_the_answer_and_said_to_be_settled_by_any_other(model, batches):
    question = ask(model, batches["numerals"], "next", asking())
    for (text, _, _), word in zip(_read(model, question), _named(question), strict=True):
        assert int(re.findall(r"\d+", text)[-1]) + 1 == int(word)
    assert question.folds.content.kind == "filler"  # the words at the labels are renamings of the answer
    nouns = [re.findall(r"[A-Za-z]+", text)[-3] for text, _, _ in _read(model, question)]
    assert list(question.folds.content.keys) == nouns
    assert "the word at n1 or at n2 or at n3 or at n4 settles it" in question.notices[0]


@pytest.mark.parametrize("at", [None, "n3"])
def test_the_previous_element_stands_before_the_one_that_is_read(model, batches, at):
    question = ask(model, batches["numerals"], "previous", asking(at=at))
    places = set()
    for (_, before, read), word in zip(_read(model, question), _named(question), strict=True):
        numerals = re.findall(r"\d+", before)
        places.add(len(numerals))
        assert numerals[-1] == word and read.strip().isdecimal()
    assert places == ({1, 2, 3} if at is None else {2})


def test_names_are_those_of_the_clean_prompts(model, batches):
    for target, which in (("IO", "correct"), ("S", "incorrect"), ("S1", "incorrect")):
        question = ask(model, batches["ioi"], target, asking())
        answers = [getattr(batches["ioi"].pairs[row], which).strip() for row in question.rows.tolist()]
        assert _named(question) == answers
        assert question.folds.content.kind == "words"


@pytest.mark.parametrize("target", ["prior-occurrence", "prior-occurrence-labels"])
@pytest.mark.parametrize("task", TARGETS)
def test_repeats_differ_from_none_by_the_relation_only(model, batches, task, target):
    question = ask(model, batches[task], target, asking())
    reading, n = question.reading, len(batches[task].pairs)
    planted = {fold: set() for fold in range(4)}
    for row in range(n):
        four = [reading.ids[row + n * i][reading.mask[row + n * i]].tolist() for i in range(4)]
        at = int(reading.positions[row])
        early, late = [i for i, tokens in enumerate(zip(*four, strict=True)) if len(set(tokens)) > 1]
        assert early < late == at
        for i, ids in enumerate(four):
            assert int(reading.positions[row + n * i]) == at
            assert (ids[at] in ids[:at]) == bool(question.classes[0, row + n * i]) == (i < 2)
            assert ids[at] not in ids[at + 1 :]
        for place in (early, late):  # in both classes the same tokens stand at either place
            assert {four[0][place], four[1][place]} == {four[2][place], four[3][place]} and four[0][place] != four[1][
                place
            ]
        folds = {int(question.folds.fold[row + n * i]) for i in range(4)}
        assert len(folds) == 1
        planted[folds.pop()] |= {ids[early] for ids in four}
    assert sum(len(tokens) for tokens in planted.values()) == len(set.union(*planted.values()))


@pytest.mark.parametrize("task", TARGETS)
def test_prior_occurrence_is_read_at_every_position_but_the_first(model, batches, task):
    batch = batches[task]
    question = ask(model, batch, "prior-occurrence", asking())
    assert "every position but the first" in question.about
    for length in set(batch.clean.mask.sum(1).tolist()):
        rows = [row for row in range(len(batch.pairs)) if int(question.reading.mask[row].sum()) == length]
        read = Counter(question.reading.positions[rows].tolist())
        counts = [read[at] for at in range(1, length)]
        assert sum(counts) == len(rows) and max(counts) - min(counts) <= 1
    labelled = ask(model, batch, "prior-occurrence-labels", asking())
    allowed = torch.stack(list(batch.label_positions.values()), 1).tolist()
    assert all(at in allowed[i] for i, at in enumerate(labelled.reading.positions[: len(batch.pairs)].tolist()))


def test_a_mask_to_be_filled_in_is_no_place_of_a_repeat():
    bert = load_model("toy-bert")
    batch = build_batch(load_task("ioi"), bert, n_prompts=60)
    question = ask(bert, batch, "prior-occurrence", asking())
    special = set(bert.tokenizer.all_special_ids)
    block = batch.clean if question.about.count("clean") else batch.corrupted
    for row, at in enumerate(question.reading.positions[: len(batch.pairs)].tolist()):
        assert int(block.ids[row, at]) not in special
        masks = [
            int((question.reading.ids[row + k * len(batch.pairs)] == bert.tokenizer.mask_token_id).sum())
            for k in range(4)
        ]
        assert masks == [1] * 4


def test_other_splits_and_sides(model, batches):
    by_template = ask(model, batches["ioi"], "IO", asking(split="template")).folds
    assert set(by_template.content.keys) <= {pair.template for pair in batches["ioi"].pairs}
    clean = ask(model, batches["numerals"], "element-2", asking(side="clean"))
    assert clean.folds.content.kind == "filler" and "settles it" in clean.notices[0]
    assert ask(model, batches["numerals"], "element-2", asking()).notices == ()
    own = ask(model, batches["numerals"], "element-2", asking(at="n3"))
    assert all(read.strip().isdecimal() for _, _, read in _read(model, own))


@pytest.mark.parametrize(
    ("task", "target", "given", "said"),
    [
        ("numerals", "element-9", {}, "none of task 'numerals'"),
        ("ioi", "sequence", {}, "none of task 'ioi'"),
        ("ioi", "nobody", {}, "choose of IO, S1, prior-occurrence, S2, next, prior-occurrence-labels"),
        ("ioi", "IO", {"at": "X9"}, "--at one of"),
        ("numerals", "previous", {"at": "n1"}, "No element comes before"),
        ("numerals", "next", {"side": "corrupted"}, "only clean prompts"),
        ("numerals", "prior-occurrence", {"at": "n2"}, "drawn at random"),
        ("numerals", "prior-occurrence-labels", {"n_folds": 20}, "too few for prior occurrence"),
        ("numerals", "previous", {"split": "words", "n_folds": 20}, "too little different content"),
    ],
)
def test_what_cannot_be_asked_is_said(model, batches, task, target, given, said):
    with pytest.raises(OptionError, match=re.escape(said)) as caught:
        ask(model, batches[task], target, asking(**given))
    assert "\n" not in str(caught.value)


def test_too_few_prompts_of_a_class_are_one_line(model):
    few = build_batch(load_task("ioi"), model, n_prompts=60)
    with pytest.raises(OptionError, match="wanted at least 2 such classes. Give about") as caught:
        ask(model, few, "IO", asking())
    needed = int(re.findall(r"about (\d+) prompts", str(caught.value))[0])
    assert 60 < needed < 500
    ask(model, build_batch(load_task("ioi"), model, n_prompts=needed), "IO", asking())
    with pytest.raises(OptionError, match="0 of 3 classes have 8 of the 15 prompts.*about 30 prompts"):
        balanced(["a"] * 4 + ["b"] * 7 + ["c"] * 4, seed=0, what="x")
    with pytest.raises(OptionError, match="1 of 2 classes.*about 80 prompts"):  # the rare one is one in ten
        balanced(["a"] * 9 + ["b"], seed=0, what="x")
    with pytest.raises(OptionError, match="one class only"):
        balanced(["a"] * 9, seed=0, what="x")


def test_prompts_without_labels_or_partners(model, tmp_path):
    file = tmp_path / "bare.jsonl"
    rows = [
        {"clean": f"{a} and {b} are in the {place}", "correct": f" {c}", "incorrect": " ring"}
        for a in ("Mary", "John", "Tom") for b in ("Sarah", "Emily", "Mark")
        for place, c in (("store", "drink"), ("garden", "bone"))
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    batch = build_batch(load_task(file), model, n_prompts=99, need_corrupted=False)
    assert default_targets(batch) == ("next", "prior-occurrence")
    with pytest.raises(OptionError, match="too little different content"):
        ask(model, batch, "next", asking())  # the last free word is what decides the answer
    with pytest.raises(OptionError, match="--side clean"):
        ask(model, batch, "next", asking(side="corrupted"))
    with pytest.raises(OptionError, match="labels 0 different tokens"):
        ask(model, batch, "prior-occurrence-labels", asking())


def test_balance_keeps_as_many_as_it_can():
    classes = ["a"] * 30 + ["b"] * 12 + ["c"] * 10 + ["d"] * 3
    kept = balanced(classes, seed=0, what="x").tolist()
    assert Counter(classes[row] for row in kept) == {"a": 10, "b": 10, "c": 10}
    assert kept == sorted(set(kept))


def test_the_first_possible_content_is_taken():
    classes = torch.tensor([[0, 1] * 20])
    same = ContentKeys(kind="words", rule="", keys=tuple("ab" * 20))
    free = ContentKeys(kind="filler", rule="", keys=tuple(str(i // 2) for i in range(40)))
    assert held_out(classes, [same, free], n_folds=4, seed=0, what="x").content.kind == "filler"
    with pytest.raises(OptionError, match=r"words\) to hold out"):
        held_out(classes, [same], n_folds=4, seed=0, what="x")
