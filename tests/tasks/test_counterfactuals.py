"""Counterfactual kinds: what each changes, that nothing else moves, and that tokens and labels stay in place."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from task_tokenizers import Info, Reads, bert_like, causal, gpt2_like, masked
from transformers import AutoTokenizer

from circuitkit.core.errors import OptionError, TaskError
from circuitkit.models.embedded import embedded_path
from circuitkit.models.loading import load_model
from circuitkit.tasks.batch import PromptBatch, build_batch
from circuitkit.tasks.loading import available_tasks, load_task, read_definition, task_folder
from circuitkit.tasks.position_groups import position_groups
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.task import Task

SEQUENCES = ["numerals", "numwords", "months"]
KINDS = {
    "greater-than": ("first", "year", "century", "noun"),
    "ioi": ("abc", "flip", "order", "name"),
    **dict.fromkeys(SEQUENCES, ("random", "shifted", "last", "nouns")),
    "simpleqa": ("question", "shuffled", "opening", "ending"),
}


def changed(task: Task, kind: str, n: int, seed: int = 0) -> Iterator[tuple[PromptPair, str]]:
    """Clean prompts, each with its first draw of one kind."""
    for i, pair in enumerate(task.pairs(n, seed=seed)):
        yield pair, next(task.counterfactuals(i, kind, seed=seed)).text


def names_in(text: str) -> list[str]:
    names = set(read_definition(task_folder() / "ioi.toml").lists["names"])
    return [word for word in re.findall(r"\w+", text) if word in names]


def test_every_bundled_task_has_its_kinds() -> None:
    assert {name: load_task(name).kinds for name in available_tasks()} == KINDS


def test_ioi_worked_out_by_hand() -> None:
    """Prompt 0 of seed 0 names Cody (IO), Nathan (S), Nathan (S)."""
    task = load_task("ioi")
    form = "Then, {} and {} had a long argument, and afterwards {} said to"
    assert task.pairs(1)[0].clean == form.format("Cody", "Nathan", "Nathan")
    found = {kind: next(task.counterfactuals(0, kind)).text for kind in task.kinds}
    assert found["flip"] == form.format("Cody", "Nathan", "Cody")
    assert found["order"] == form.format("Nathan", "Cody", "Nathan")
    io, s1, s2 = names_in(found["name"])
    assert (io, s1) == ("Cody", s2) and s1 not in ("Cody", "Nathan")
    assert found["name"] == form.format(io, s1, s2)
    strangers = names_in(found["abc"])
    assert len({*strangers, "Cody", "Nathan"}) == 5
    assert found["abc"] == form.format(*strangers)


def test_ioi_kinds_change_names_alone() -> None:
    task = load_task("ioi")
    for kind in task.kinds:
        for pair, text in changed(task, kind, 120):
            old, new = names_in(pair.clean), names_in(text)
            io, s = pair.correct.strip(), pair.incorrect.strip()
            other = {io: s, s: io}
            if kind == "flip":
                assert new == [*old[:2], io]
            elif kind == "order":
                assert new == [other[old[0]], other[old[1]], s]
            elif kind == "name":
                assert [name == io for name in new] == [name == io for name in old]
                assert len(set(new)) == 2 and s not in new
            else:
                assert len({*new, *old}) == 5
            assert re.sub("|".join(new), "X", text) == re.sub("|".join(old), "X", pair.clean)


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_change_what_they_say(name: str) -> None:
    task, elements = load_task(name), read_definition(task_folder() / f"{name}.toml").lists["elements"]

    def parts(text: str) -> tuple[list[int], list[str]]:
        shown = re.findall(r"(\w+)\.", text)
        return [elements.index(word) for word in shown], re.findall(r"(\w+) (?:done|lost|born) in", text)

    starts = set()
    for kind in task.kinds:
        for pair, text in changed(task, kind, 120):
            (old, nouns), (new, new_nouns) = parts(pair.clean), parts(text)
            if kind == "nouns":
                assert new == old and not {*nouns} & {*new_nouns} and len({*new_nouns}) == 5
                continue
            assert new_nouns == nouns
            if kind == "shifted":
                assert [b - a for a, b in zip(new, new[1:], strict=False)] == [1, 1, 1]
                assert new[0] != old[0] and new[0] in range(8)
                starts.add(new[0])
                continue
            assert new[3] != new[2] + 1
            assert kind == "random" or new[:3] == old[:3]
    assert starts == set(range(8))


def test_greater_than_changes_one_number_or_noun() -> None:
    task = load_task("greater-than")
    form = r"The (\w+) lasted from the year (\d\d)(\d\d) to the year (\d\d)"
    for place, kind in enumerate(("noun", "century", "year")):
        for pair, text in changed(task, kind, 100):
            (old,), (new,) = re.findall(form, pair.clean), re.findall(form, text)
            moved = [i for i in range(3) if old[i] != new[i]]
            assert moved == [place] and new[1] == new[3]
            assert 11 <= int(new[1]) <= 17 and 2 <= int(new[2]) <= 98
    assert all(text == re.sub(r"\d\d to", "01 to", pair.clean) for pair, text in changed(task, "first", 20))


def test_simpleqa_moves_words_and_rows() -> None:
    task = load_task("simpleqa")
    pairs = task.pairs(96)
    questions = [pair.clean.split(" ", 1)[1].removesuffix("\nAnswer:") for pair in pairs]
    answers = {pair.clean: pair.correct for pair in pairs}
    for pair, text in changed(task, "question", 96):
        assert answers[text] != pair.correct
    for (pair, text), question in zip(changed(task, "shuffled", 96), questions, strict=True):
        new = text.removesuffix("\nAnswer:").split(" ")[1:]
        assert sorted(new) == sorted(question.split(" ")) and new[-1] == question.split(" ")[-1]
        assert text.endswith("\nAnswer:") and pair.clean.endswith(question + "\nAnswer:")
    for kind, at in (("opening", 0), ("ending", -1)):
        there = {question.split(" ")[at] for question in questions}
        for (_, text), question in zip(changed(task, kind, 96), questions, strict=True):
            old, new = question.split(" "), text.removesuffix("\nAnswer:").split(" ")[1:]
            assert new[at] in there - {old[at]}
            assert new[1:] == old[1:] if at == 0 else new[:-1] == old[:-1]


@pytest.mark.parametrize("name", available_tasks())
def test_draws_depend_on_seed_number_and_kind_only(name: str) -> None:
    task = load_task(name)
    for kind in task.kinds:
        first, again, other = (list(changed(task, kind, 12, seed)) for seed in (0, 0, 1))
        assert first == again
        assert [text for _, text in first] != [text for _, text in other]
        assert next(task.counterfactuals(7, kind)).text == first[7][1]


def test_clean_and_corrupted_prompts_are_what_they_were() -> None:
    """Hashes of the prompts of circuitkit before there were counterfactuals."""
    known = json.loads((Path(__file__).parents[1] / "data" / "prompts_sha256.json").read_text())
    assert set(known) == set(available_tasks())
    for name in available_tasks():
        assert digest(load_task(name).pairs(300)) == known[name]


def digest(pairs: list[PromptPair]) -> str:
    from hashlib import sha256

    texts = [[p.clean, p.corrupted, p.correct, p.incorrect, p.template] for p in pairs]
    places = [[sorted(p.labels.items()), sorted(p.corrupted_labels.items())] for p in pairs]
    return sha256(json.dumps([texts, places]).encode()).hexdigest()


def check(batch: PromptBatch, model: Reads) -> None:
    """Rows of every kind have the length of their clean rows, their labels in place, and other tokens."""
    for kind, block in batch.counterfactuals.items():
        assert torch.equal(block.mask, batch.clean.mask)
        assert torch.equal(block.answer_pos, batch.clean.answer_pos)
        assert (block.ids != batch.clean.ids).any(1).all()
        for row, pair in enumerate(batch.pairs):
            text = pair.counterfactuals[kind]
            ids = model.tokenizer(text if model.is_causal else f"{text} {model.tokenizer.mask_token}")["input_ids"]
            n = min(len(ids), int(block.mask[row].sum())) - (1 if model.is_causal else 0)  # what comes before the cut
            assert block.ids[row, :n].tolist() == ids[:n]


def embedded(name: str) -> Reads:
    model = load_model(name, device="cpu")
    return Reads(model.tokenizer, model.is_causal, Info(model.info.max_length, model.info.vocab_size))


@pytest.mark.parametrize("model_name", ["toy-gpt2", "toy-bert", "toy-llama", "toy-distilgpt2", "toy-distilbert"])
def test_embedded_models_read_nearly_all_kinds(model_name: str) -> None:
    assert embedded_path(model_name).is_dir()
    model = embedded(model_name)
    for name in available_tasks():
        batch = build_batch(load_task(name), model, n_prompts=48, counterfactuals=True)
        assert tuple(batch.counterfactuals) == KINDS[name]
        assert len(batch.pairs) >= 0.9 * 48
        check(batch, model)


@pytest.mark.real
@pytest.mark.parametrize("name", available_tasks())
def test_the_real_tokenizer_reads_most_kinds(real_model_dir: Path, name: str) -> None:
    """It splits some names and writes numbers digit by digit: not every prompt has a flip or a shift of its length."""
    model = Reads(AutoTokenizer.from_pretrained(real_model_dir), info=Info(512))
    batch = build_batch(load_task(name), model, n_prompts=96, counterfactuals=True)
    assert tuple(batch.counterfactuals) == KINDS[name]
    assert len(batch.pairs) >= 64
    check(batch, model)


@pytest.mark.parametrize("model", [*causal(), *masked()])
@pytest.mark.parametrize("name", ["ioi", "numerals", "simpleqa"])
def test_labels_stand_in_the_same_places(model: Reads, name: str) -> None:
    """The label's own tokens are those of the changed word, found again by tokenising each row as it is."""
    task = load_task(name)
    batch = build_batch(task, model, n_prompts=40, counterfactuals=True)
    check(batch, model)
    groups = position_groups(batch)
    for kind, block in batch.counterfactuals.items():
        for row, (i, pair) in enumerate(zip(batch.prompt_index, batch.pairs, strict=True)):
            text = pair.counterfactuals[kind]
            drawn = next(d for d in task.counterfactuals(i, kind, alike=alike(model)) if d.text == text)
            for label, (start, end) in drawn.labels.items():
                if label == "END":
                    continue
                mine = block.ids[row, groups.masks[groups.names.index(label), row]]
                said = str(model.tokenizer.decode(mine))
                assert "".join(text[start:end].lower().split()) in "".join(said.lower().split())


def alike(model: Reads):
    return lambda a, b: len(model.tokenizer(f" {a}")["input_ids"]) == len(model.tokenizer(f" {b}")["input_ids"])


def test_prompts_that_are_not_asked_for_kinds_do_not_have_them() -> None:
    model = Reads(gpt2_like(vocab_size=1100))
    plain, rich = (build_batch(load_task("ioi"), model, n_prompts=60, counterfactuals=on) for on in (False, True))
    assert plain.counterfactuals == {} and all(pair.counterfactuals == {} for pair in plain.pairs)
    assert len(plain.pairs) > len(rich.pairs) > 30  # names of other lengths cannot be flipped
    at = [plain.prompt_index.index(i) for i in rich.prompt_index]
    assert [plain.pairs[i].clean for i in at] == [pair.clean for pair in rich.pairs]
    assert [plain.pairs[i].corrupted for i in at] == [pair.corrupted for pair in rich.pairs]
    missing = {drop.index: drop.reason for drop in rich.dropped}
    assert set(missing) == {*plain.prompt_index, *(d.index for d in plain.dropped)} - set(rich.prompt_index)
    assert sum(reason.startswith("counterfactual 'flip': none has as many") for reason in missing.values()) > 3
    some = build_batch(load_task("ioi"), model, n_prompts=60, counterfactuals=["name", "abc", "name"])
    assert tuple(some.counterfactuals) == ("name", "abc")
    assert len(some.pairs) > len(rich.pairs)


def test_kinds_that_few_prompts_have_are_left_out() -> None:
    """Where most names are written with other numbers of tokens, few subjects can take each other's place."""
    batch = build_batch(load_task("ioi"), Reads(gpt2_like(vocab_size=420)), n_prompts=60, counterfactuals=True)
    assert tuple(batch.counterfactuals) == ("abc", "name")
    assert [set(pair.counterfactuals) for pair in batch.pairs] == [{"abc", "name"}] * len(batch.pairs)
    said = [notice for notice in batch.notices if "is left out" in notice]
    assert len(said) == 2 and "kind 'flip'" in said[0] and "kind 'order'" in said[1]


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(OptionError, match=r"kind 'abd' is not in task 'ioi'; choose among abc, flip, order, name"):
        build_batch(load_task("ioi"), Reads(gpt2_like()), counterfactuals=["abd"])


def rows(tmp_path: Path, *lines: dict[str, object]) -> Task:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return load_task(path)


def row(name: str, **more: object) -> dict[str, object]:
    return {"clean": f"Then {name} went to", "correct": " store", "incorrect": " school", **more}


NAMES = "Mary John James Amy Lisa Paul Mark Laura Sarah Kevin".split()


def test_written_kinds(tmp_path: Path) -> None:
    """Each row says its own; the kind that few have is left out, and rows that lack another are dropped."""
    lines = [row(name, counterfactuals={"who": f"Then {NAMES[-1 - i]} went to"}) for i, name in enumerate(NAMES)]
    lines[0]["counterfactuals"] = {"verb": "Then Mary was to"}
    lines[1]["counterfactuals"] = {"who": "Then the young Kevin went to", "verb": "Then John was to"}
    task = rows(tmp_path, *lines)
    assert task.kinds == ("verb", "who")
    batch = build_batch(task, Reads(gpt2_like()), need_corrupted=False, counterfactuals=True)
    assert tuple(batch.counterfactuals) == ("who",)
    assert batch.prompt_index == tuple(range(2, 10))
    assert [pair.counterfactuals for pair in batch.pairs] == [line["counterfactuals"] for line in lines[2:]]
    assert [(drop.index, drop.reason) for drop in batch.dropped] == [
        (0, "counterfactual 'who': the prompt does not have it"),
        (1, "counterfactual 'who': none has as many tokens as the clean prompt"),
    ]
    assert any("kind 'verb' is left out: 2 of 10 prompts have it." in notice for notice in batch.notices)
    check(batch, Reads(gpt2_like()))


def test_a_part_of_written_prompts_keeps_its_own_kinds(tmp_path: Path) -> None:
    task = rows(tmp_path, *(row(name, counterfactuals={"verb": f"Then {name} was to"}) for name in NAMES))
    batch = build_batch(task, Reads(gpt2_like()), n_prompts=4, need_corrupted=False, counterfactuals=True)
    assert len(batch.pairs) == 4
    assert all(pair.counterfactuals["verb"] == pair.clean.replace("went", "was") for pair in batch.pairs)


@pytest.mark.parametrize("need", [True, False])
def test_without_kinds_the_corrupted_prompts_are_the_only_one(tmp_path: Path, need: bool) -> None:
    lines = [row(name, corrupted="Then Scott went to") for name in NAMES]
    lines[3]["corrupted"] = "Then the young Scott went to"
    batch = build_batch(
        rows(tmp_path, *lines), Reads(gpt2_like()), n_prompts=10, need_corrupted=need, counterfactuals=True
    )
    assert tuple(batch.counterfactuals) == ("corrupted",)
    assert [drop.index for drop in batch.dropped] == [3]
    assert "The task names no counterfactual kinds; its corrupted prompts are the only one." in batch.notices
    if need:
        assert batch.corrupted is not None and batch.positional
        assert torch.equal(batch.corrupted.ids, batch.counterfactuals["corrupted"].ids)


def test_nothing_to_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no counterfactual prompts .*'corrupted' is left out: 0 of 10"):
        build_batch(rows(tmp_path, *map(row, NAMES)), Reads(gpt2_like()), need_corrupted=False, counterfactuals=True)


@pytest.mark.parametrize(
    ("kinds", "wanted"),
    [
        ([1], "'counterfactuals' is no object"),
        ({"a b": "x"}, "a counterfactual kind is called 'a b'; wanted letters"),
        ({"a": 5}, "counterfactuals: 'a' is 5; wanted a string"),
        ({"a": " "}, "counterfactuals: 'a' is empty"),
        ({"a": "Then Mary went to"}, "the counterfactual 'a' is the same as 'clean'"),
    ],
)
def test_bad_written_kinds_name_their_line(tmp_path: Path, kinds: object, wanted: str) -> None:
    with pytest.raises(TaskError) as error:
        rows(tmp_path, row("Amy"), row("Mary", counterfactuals=kinds))
    assert "mine.jsonl line 2" in str(error.value) and wanted in str(error.value) and "\n" not in str(error.value)


def test_groups_by_hand() -> None:
    """SmolLM2-like digits apart: a label is all tokens of its span, and nothing of the word around it."""
    model = Reads(gpt2_like(vocab_size=257))  # single bytes
    batch = build_batch(load_task("greater-than"), model, n_prompts=4)
    groups = position_groups(batch)
    assert groups.names == ("NOUN", "XX", "YY", "END", "rest")
    for row_number, pair in enumerate(batch.pairs):
        at = {name: mask[row_number].nonzero().flatten().tolist() for name, mask in zip(*parts(groups), strict=True)}
        for label in ("NOUN", "XX", "YY", "END"):
            assert at[label] == list(range(*pair.labels[label]))
        assert sorted(sum(at.values(), [])) == list(range(len(pair.clean)))


def parts(groups) -> tuple[tuple[str, ...], torch.Tensor]:
    return groups.names, groups.masks


def test_groups_of_masked_models() -> None:
    batch = build_batch(load_task("ioi"), Reads(bert_like(), is_causal=False), n_prompts=30)
    groups = position_groups(batch)
    assert set(groups.names) == {"IO", "S1", "S2", "END", "rest"} and groups.names[-2:] == ("END", "rest")
    end = groups.masks[groups.names.index("END")]
    assert torch.equal(end.long().argmax(1), batch.clean.answer_pos) and end.sum(1).eq(1).all()
    assert groups.masks[-1][:, 0].all()  # [CLS]
    assert torch.equal(groups.masks.sum(0), batch.clean.mask.long())  # each token is in one group
