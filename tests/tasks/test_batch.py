"""Batches: rectangles of tokens, groups, what is dropped and what is said about it."""

import copy
import dataclasses
import json
import sys
from collections import Counter

import pytest
import torch
from task_tokenizers import Info, Reads, bert_like, causal, gpt2_like, llama3_like, masked

from circuitkit.core.errors import TaskError
from circuitkit.interventions.rows import clean_logit_diff
from circuitkit.models.loading import wrap_model
from circuitkit.tasks import pool, reading
from circuitkit.tasks.batch import assemble, build_batch
from circuitkit.tasks.loading import load_task
from circuitkit.tasks.reader_model import read_alike
from circuitkit.tasks.usable import Dropped, usable_prompts

MODELS = [*causal(), *masked()]


def rows(tmp_path, *lines: dict[str, object], name: str = "mine"):
    path = tmp_path / f"{name}.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return load_task(path)


def row(i: int, **more: object) -> dict[str, object]:
    names = "Mary John James Amy Lisa Paul Mark Laura Sarah Kevin".split()
    return {"clean": f"Then {names[i]} went to", "correct": " store", "incorrect": " school", **more}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["ioi", "numerals", "numwords", "months"])
def test_partners_are_equally_long_with_labels_at_equal_places(model: Reads, name: str) -> None:
    task = load_task(name)
    batch = build_batch(task, model, n_prompts=96)
    assert batch.positional
    assert batch.corrupted is not None
    assert torch.equal(batch.clean.mask, batch.corrupted.mask)
    assert torch.equal(batch.clean.answer_pos, batch.corrupted.answer_pos)
    again = task.pairs(96)
    for i, pair in zip(batch.prompt_index, batch.pairs, strict=True):
        assert pair.clean == again[i].clean
    assert len(batch.pairs) + len(batch.dropped) == 96
    assert sorted({*batch.prompt_index, *(drop.index for drop in batch.dropped)}) == list(range(96))


@pytest.mark.parametrize("model", MODELS)
def test_groups_are_template_and_length(model: Reads) -> None:
    batch = build_batch(load_task("ioi"), model, n_prompts=120)
    keys = [(pair.template, int(n)) for pair, n in zip(batch.pairs, batch.clean.mask.sum(1), strict=True)]
    assert len(set(zip(keys, batch.group.tolist(), strict=True))) == len(set(keys)) == int(batch.group.max()) + 1
    smallest = min(Counter(keys).values())
    assert any(f"has {smallest} prompt" in notice for notice in batch.notices) == (smallest < 8)


@pytest.mark.parametrize("model", MODELS)
def test_rows_are_padded_on_the_right(model: Reads) -> None:
    batch = build_batch(load_task("ioi"), model, n_prompts=40)
    for block in (batch.clean, batch.corrupted):
        assert block is not None
        assert not (block.mask[:, 1:] & ~block.mask[:, :-1]).any()
        assert (block.ids[~block.mask] == 0).all()
        assert (block.words[~block.mask] == -1).all()
        assert block.mask.any(0).all()
    if model.is_causal:
        assert torch.equal(batch.clean.answer_pos, batch.clean.mask.sum(1) - 1)
    else:
        at = batch.clean.ids.gather(1, batch.clean.answer_pos[:, None])
        assert (at == model.tokenizer.mask_token_id).all()


@pytest.mark.parametrize("model", [Reads(gpt2_like()), Reads(llama3_like()), Reads(bert_like(), is_causal=False)])
def test_every_shipped_task_goes_with_every_kind_of_model(model: Reads) -> None:
    for name in ("numerals", "numwords", "months", "ioi", "simpleqa"):
        batch = build_batch(load_task(name), model, n_prompts=48)
        assert len(batch.pairs) >= 24, name
        assert batch.positional == (name != "simpleqa")


def test_clean_prompts_do_not_depend_on_the_model() -> None:
    batches = [build_batch(load_task("numerals"), model, n_prompts=24) for model in MODELS]
    texts = [dict(zip(batch.prompt_index, (pair.clean for pair in batch.pairs), strict=True)) for batch in batches]
    assert all(text == texts[0] for text in texts)


def test_simpleqa_is_pooled_and_says_so() -> None:
    batch = build_batch(load_task("simpleqa"), Reads(gpt2_like()), n_prompts=384)
    assert not batch.positional
    assert batch.group.unique().tolist() == [0]
    assert "384 prompts were asked for and the task has 96." in batch.notices
    assert any("all positions of all prompts" in notice for notice in batch.notices)
    assert set(batch.label_positions) == {"Q", "END"}


def test_written_prompts_of_unequal_length_are_pooled(tmp_path) -> None:
    equal = [row(i, corrupted=f"Then the {word} said to") for i, word in enumerate(["war", "king"])]
    model = Reads(gpt2_like(vocab_size=257))
    batch = build_batch(rows(tmp_path, *equal), model)
    assert not batch.positional
    assert "because 1 of 2 corrupted prompts differ" in " ".join(batch.notices) or "2 of 2" in " ".join(batch.notices)
    alone = build_batch(rows(tmp_path, *equal), model, need_corrupted=False)
    assert alone.positional
    assert alone.corrupted is None


def test_written_prompts_of_equal_length_keep_their_positions(tmp_path) -> None:
    task = rows(tmp_path, *(row(i, corrupted="Then Scott went to", template="t") for i in range(9)))
    batch = build_batch(task, Reads(gpt2_like()))
    assert batch.positional
    assert batch.group.tolist() == [0] * 9
    assert batch.notices == ("384 prompts were asked for and the task has 9.",)


def test_prompts_without_a_partner_need_another_ablation(tmp_path) -> None:
    task = rows(tmp_path, *(row(i) for i in range(4)))
    with pytest.raises(TaskError, match=r"Only 0 of 4 .* no corrupted prompt"):
        build_batch(task, Reads(gpt2_like()))
    assert build_batch(task, Reads(gpt2_like()), need_corrupted=False).corrupted is None


def test_what_is_dropped_is_named(tmp_path) -> None:
    bad = row(3, correct=" store", incorrect=" store store")
    task = rows(tmp_path, *(row(i) for i in range(3)), bad)
    batch = build_batch(task, Reads(gpt2_like()), n_prompts=4, need_corrupted=False)
    assert len(batch.pairs) == 3
    (drop,) = batch.dropped
    assert drop.prompt == bad["clean"]
    assert "do not differ" in drop.reason
    assert task.pairs(4)[drop.index].clean == drop.prompt
    assert any("1 of 4 prompts were left out" in notice for notice in batch.notices)


def test_half_is_enough_and_less_is_not(tmp_path) -> None:
    good, bad = [row(i) for i in range(2)], [row(i, incorrect=" store store") for i in range(2, 5)]
    half = rows(tmp_path, *good, *bad[:2], name="half")
    assert len(build_batch(half, Reads(gpt2_like()), need_corrupted=False).pairs) == 2
    with pytest.raises(TaskError, match=r"Only 2 of 5 prompts .*commonest reason \(3 prompts\): the answers do not"):
        build_batch(rows(tmp_path, *good, *bad), Reads(gpt2_like()), need_corrupted=False)


def test_too_long_for_the_model() -> None:
    with pytest.raises(TaskError, match="23 tokens are too long for the model, which takes 10"):
        build_batch(load_task("numerals"), Reads(gpt2_like(), info=Info(10)), n_prompts=8)


def test_tokens_that_only_the_tokenizer_has(tmp_path, tiny_models) -> None:
    """A padding token and a word were added to the tokenizer and the embeddings were not resized."""
    model = tiny_models["gpt2"]
    added = copy.deepcopy(model.tokenizer)
    added.add_special_tokens({"pad_token": "[PAD]"})
    added.add_tokens(["Zorp"])
    assert added.pad_token_id >= model.info.vocab_size
    reader = wrap_model(model.raw, added, name="m")
    good = [{"clean": f"When {who} went to the", "correct": " store", "incorrect": " school"} for who in ("Mary", "X")]
    task = rows(tmp_path, *good, {**good[0], "clean": "When Zorp went"}, {**good[0], "incorrect": "Zorp"})
    batch = build_batch(task, reader, n_prompts=4, need_corrupted=False)
    size = model.info.vocab_size
    reason = f"the tokenizer makes tokens of it that the model, which has {size}, lacks"
    assert [drop.reason for drop in batch.dropped] == [reason] * 2
    assert not batch.clean.mask.all()
    clean_logit_diff(reader, batch)


def test_unknown_words_are_mentioned(tmp_path) -> None:
    task = rows(tmp_path, row(0), {"clean": "Then ☂ went to", "correct": " store", "incorrect": " school"})
    batch = build_batch(task, Reads(bert_like(), is_causal=False), n_prompts=2, need_corrupted=False)
    assert "1 of 2 prompts hold words that the tokenizer does not know." in batch.notices


@pytest.mark.parametrize("model", MODELS)
def test_a_smaller_batch_is_the_beginning_of_a_larger_one(model: Reads) -> None:
    small, large = (build_batch(load_task("ioi"), model, n_prompts=n) for n in (20, 60))
    assert large.prompt_index[: len(small.prompt_index)] == small.prompt_index
    assert large.pairs[: len(small.pairs)] == small.pairs


def test_only_some_of_the_prompts() -> None:
    model = Reads(gpt2_like())
    found = usable_prompts(load_task("ioi"), model, n_prompts=40, seed=0, need_corrupted=True)
    whole, chosen = assemble(found), {7, 3, 30}
    left = (Dropped(index=0, prompt="x", reason="why"),)
    part = assemble(found.only(chosen, dropped=left))
    at = [i for i, n in enumerate(whole.prompt_index) if n in chosen]
    assert part.prompt_index == (3, 7, 30)
    assert part.pairs == tuple(whole.pairs[i] for i in at)
    width = part.clean.ids.shape[1]
    assert torch.equal(part.clean.ids, whole.clean.ids[at, :width])
    assert torch.equal(part.label_positions["IO"], whole.label_positions["IO"][at])
    assert part.corrupted is not None
    assert (part.task, part.dropped) == (whole.task, left)
    assert any("1 of 4 prompts were left out; the commonest reason (1): why" in notice for notice in part.notices)


def test_rows_without_a_template_are_grouped_by_length_and_that_is_said(tmp_path) -> None:
    said = "Rows name no template; prompts of equal token length are taken as one template."
    longer = [{**row(i), "clean": f"Then in the end {name} went to"} for i, name in ((8, "Mary"), (9, "John"))]
    alone = {**row(0), "clean": "Mary went to"}
    lines = [*(row(i) for i in range(8)), *longer, alone]
    model = Reads(gpt2_like())
    batch = build_batch(rows(tmp_path, *lines), model, n_prompts=11, need_corrupted=False)
    assert said in batch.notices
    assert any(notice.startswith("1 of 11 prompts stands alone in a group") for notice in batch.notices)
    named = build_batch(rows(tmp_path, *({**line, "template": "t"} for line in lines)), model, need_corrupted=False)
    assert said not in named.notices
    one = build_batch(rows(tmp_path, *lines[:8]), model, n_prompts=8, need_corrupted=False)
    assert one.notices == ()


def test_generated_partners_that_never_fit_are_dropped(tmp_path) -> None:
    """The only other word is two tokens long where the clean one is one."""
    path = tmp_path / "mine.toml"
    path.write_text(
        """
version = 1
name = "mine"
title = "Mine"
citation = "none"
[[templates]]
name = "one"
text = "Then {who} went to"
[slots]
who = { list = "people" }
[answers]
correct = " store"
incorrect = " school"
[corruption]
kind = "redraw"
slots = ["who"]
[lists]
people = ["Mary", "Xqz"]
"""
    )
    with pytest.raises(TaskError, match="no corrupted prompt with as many tokens was found"):
        build_batch(load_task(path), Reads(gpt2_like()), n_prompts=4)
    assert len(build_batch(load_task(path), Reads(gpt2_like()), n_prompts=4, need_corrupted=False).pairs) == 4


def test_progress_ends_with_the_last_prompt() -> None:
    seen: list[tuple[str, int, int]] = []
    build_batch(load_task("ioi"), Reads(gpt2_like()), n_prompts=150, progress=lambda *report: seen.append(report))
    assert seen == [("prompts", 64, 150), ("prompts", 128, 150), ("prompts", 150, 150)]
    facts = load_task("simpleqa")
    seen.clear()
    build_batch(facts, Reads(gpt2_like()), n_prompts=20_000, progress=lambda *report: seen.append(report))
    assert seen[-1] == ("prompts", facts.source.size, facts.source.size)


def test_readings_that_are_forgotten_are_made_again(monkeypatch) -> None:
    model, wanted = Reads(gpt2_like()), {"n_prompts": 60, "seed": 0, "need_corrupted": True}
    remembered = usable_prompts(load_task("ioi"), model, **wanted)
    monkeypatch.setattr(reading, "REMEMBERED", 2)
    monkeypatch.setattr(pool, "POOLED", 2)
    assert usable_prompts(load_task("ioi"), model, **wanted) == remembered


def test_prompts_share_what_they_have_in_common() -> None:
    """What a prompt costs in memory is its text and its row of tokens, not copies of what all have."""
    kept = usable_prompts(load_task("numerals"), Reads(gpt2_like()), n_prompts=500, seed=0, need_corrupted=True).kept
    assert len({id(row.clean.words) for row in kept}) == len({row.clean.words for row in kept})
    assert len({id(row.clean.labels) for row in kept}) == len({tuple(row.clean.labels.items()) for row in kept})
    spans = [span for row in kept for span in row.pair.labels.values()]
    assert len({id(span) for span in spans}) == len(set(spans))


def test_a_prompt_costs_its_text_and_tokens_and_little_more() -> None:
    """Two texts of a hundred bytes, two rows of twenty tokens, the places of four labels."""
    kept = usable_prompts(load_task("ioi"), Reads(gpt2_like()), n_prompts=400, seed=0, need_corrupted=True).kept
    assert size(kept, set()) / len(kept) < 2500


def size(value: object, seen: set[int]) -> int:
    """Bytes of an object and all that it holds, each counted once."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    parts: list[object] = []
    if isinstance(value, tuple):
        parts = list(value)
    elif isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif dataclasses.is_dataclass(value):
        parts = [getattr(value, part.name) for part in dataclasses.fields(value)]
    return sys.getsizeof(value) + sum(size(part, seen) for part in parts)


def test_many_repeated_prompts_are_said(tmp_path) -> None:
    path = tmp_path / "few.toml"
    path.write_text(
        'version = 1\nname = "few"\ncitation = "none"\ntitle = "Few"\n'
        'answers = { correct = " {x}", incorrect = " it" }\n'
        '[[templates]]\nname = "only"\ntext = "So {x} saw"\n'
        '[lists]\nwords = ["Mary", "John", "James"]\n[slots]\nx = { list = "words" }\n'
    )
    batch = build_batch(load_task(path), Reads(gpt2_like()), n_prompts=40, need_corrupted=False)
    assert "37 of 40 prompts repeat another: the task has not so many different ones." in batch.notices
    assert not any("repeat" in n for n in build_batch(load_task("ioi"), Reads(gpt2_like()), n_prompts=200).notices)


def test_models_that_read_alike() -> None:
    model = Reads(gpt2_like())
    again = Reads(copy.deepcopy(gpt2_like()))
    assert again.tokenizer is not model.tokenizer
    assert read_alike(model, again)
    assert not read_alike(model, Reads(llama3_like()))
    assert not read_alike(model, Reads(gpt2_like(), info=Info(127)))
    assert not read_alike(model, Reads(gpt2_like(), info=Info(128, 99)))
    assert not read_alike(model, Reads(gpt2_like(vocab_size=900)))
    assert not read_alike(Reads(bert_like(), is_causal=False), Reads(bert_like()))
