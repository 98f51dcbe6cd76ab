"""The recipe of the embedded models, at a size that takes seconds."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuitkit.core.errors import ModelError
from circuitkit.experiments.embedded.architectures import PAIRS, new_model
from circuitkit.experiments.embedded.corpus import Example
from circuitkit.experiments.embedded.encoding import IGNORED, encode
from circuitkit.experiments.embedded.losses import label_loss, logit_loss
from circuitkit.experiments.embedded.recipe import Recipe, corpus_of, embedded_tasks, make_tokenizer
from circuitkit.experiments.embedded.training import Schedule, distil, train
from circuitkit.models.inherit import copy_layers
from circuitkit.tasks.encoding import pad_id
from circuitkit.tasks.prompt import PromptPair

KINDS = ("gpt2", "bert", "llama")
TINY = replace(Recipe(), corpus_size=1500)
SHORT = Schedule(steps=12, learning_rate=3e-3, warmup=2, batch_size=16, log_every=4)


@pytest.fixture(scope="module")
def tasks():
    return embedded_tasks()


@pytest.fixture(scope="module")
def corpus(tasks):
    return corpus_of(tasks, TINY)


@pytest.fixture(scope="module")
def tokenizers(tasks, corpus):
    return {kind: make_tokenizer(kind, tasks, corpus[1]) for kind in KINDS}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_corpus_is_the_same_again_and_another_with_another_seed(tasks):
    fewer = replace(TINY, corpus_size=100)
    once = corpus_of(tasks, fewer)
    assert corpus_of(tasks, fewer) == once
    assert corpus_of(tasks, replace(fewer, seed=1))[1] != once[1]


def test_held_out_words_are_only_in_filler(corpus):
    held_out, examples = corpus
    asked = [example for example in examples if example.answer is not None]
    # A prefix of filler ends in ". " and may hold any word; the prompt after it may not.
    bare = [e for e in asked if e.text.startswith(("Then,", "After ", "While ", "Friends "))]
    assert len(bare) > 100
    assert not any(word in f"{e.text}{e.answer}".replace(",", "").split() for e in bare for word in held_out.words)
    filler = " ".join(example.text for example in examples if example.answer is None)
    assert sum(word in filler for word in held_out.words) > 0.8 * len(held_out.words)


def test_held_out_starts_are_told_from_the_others(corpus):
    held_out, _ = corpus
    template, element = next((t, e) for task, t, e in sorted(held_out.starts) if task == "months")
    pair = PromptPair(
        clean=f"Zed done in {element}.",
        corrupted=None,
        correct=" May",
        incorrect=" April",
        template=template,
        labels={"n1": (12, 12 + len(element))},
        corrupted_labels={},
    )
    assert held_out.covers("months", pair)
    assert not held_out.covers("months", replace(pair, template="another"))


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_single_tokens(kind, tasks, tokenizers):
    tokenizer = tokenizers[kind]
    words = ["Mary", "John", "store", "drink", "twelve", "September", "war", "Einstein"]
    if kind != "llama":
        words += ["1", "5", "10", "12", "116"]
    for word in words:
        assert len(tokenizer.encode(f" {word}", add_special_tokens=False)) == 1, word


def test_numbers_are_split_as_the_families_do(tokenizers):
    def tokens(kind, text):
        return tokenizers[kind].tokenize(text)

    assert tokens("gpt2", "year 1732 to the year 17")[1:3] == ["Ġ17", "32"]
    assert tokens("llama", " 5") == ["Ġ", "5"]
    assert tokens("llama", " 1045") == ["Ġ", "10", "45"]
    assert tokens("bert", "1732 to 17") == ["17", "##32", "to", "17"]


def test_special_tokens(tokenizers):
    gpt2, bert, llama = (tokenizers[kind]("Mary") for kind in KINDS)
    assert len(gpt2["input_ids"]) == 1
    assert tokenizers["bert"].convert_ids_to_tokens(bert["input_ids"]) == ["[CLS]", "mary", "[SEP]"]
    assert llama["input_ids"][0] == tokenizers["llama"].bos_token_id
    assert all(tokenizer.pad_token is not None for tokenizer in tokenizers.values())


@given(text=st.text(max_size=40))
def test_any_text_survives_the_byte_level_tokenizers(tokenizers, text):
    for kind in ("gpt2", "llama"):
        tokenizer = tokenizers[kind]
        if any(special in text for special in tokenizer.all_special_tokens):
            continue
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text


@given(text=st.text(alphabet=[chr(code) for code in range(32, 127)], max_size=40))
def test_ascii_text_has_no_unknown_wordpiece(tokenizers, text):
    tokenizer = tokenizers["bert"]
    if "[UNK]" not in text:
        assert tokenizer.unk_token_id not in tokenizer.encode(text)


def test_encoding_puts_labels_where_logits_are_read(tokenizers):
    example = Example(text="John and Mary. John to", answer=" Mary")
    (row,) = encode([example], tokenizers["gpt2"], seed=0)
    assert row["labels"][:-1] == row["input_ids"][1:]
    assert row["labels"][-1] == IGNORED
    assert row["weights"][-2:] == [5.0, 0.0]

    bert = tokenizers["bert"]
    rows = encode([example] * 40, bert, seed=0)
    asked = [row for row in rows if row["input_ids"][-2] == bert.mask_token_id and sum(row["weights"]) == 1]
    assert len(asked) > 20
    assert asked[0]["labels"][-2] == bert.convert_tokens_to_ids("mary")


def test_losses_by_hand():
    logits = torch.tensor([[[0.0, math.log(3)], [9.0, -9.0]]])
    labels, weights = torch.tensor([[1, IGNORED]]), torch.tensor([[2.0, 0.0]])
    assert label_loss(logits, labels, weights).item() == pytest.approx(-math.log(0.75), abs=1e-6)
    student = torch.zeros_like(logits)
    wanted = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert logit_loss(student, logits, weights, temperature=1.0).item() == pytest.approx(wanted, abs=1e-6)
    assert logit_loss(student, 2 * logits, weights, temperature=2.0).item() == pytest.approx(4 * wanted, abs=1e-5)
    assert logit_loss(logits, logits, weights, temperature=2.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.kind)
def test_training_lowers_the_loss_and_repeats_itself(pair, corpus, tokenizers):
    tokenizer = tokenizers[pair.kind]
    rows, pad = encode(corpus[1], tokenizer, seed=0), pad_id(tokenizer)

    def once():
        torch.manual_seed(0)
        teacher = new_model(pair.teacher, tokenizer, n_layers=4)
        losses = train(teacher, rows, SHORT, pad=pad, seed=0)
        student = new_model(pair.student, tokenizer, n_layers=2)
        copy_layers(teacher, student, dict(enumerate(pair.layers)))
        distances = distil(student, teacher, rows, SHORT, temperature=2.0, pad=pad, seed=1)
        return losses, distances, {**teacher.state_dict(), **{f"s.{k}": v for k, v in student.state_dict().items()}}

    losses, distances, weights = once()
    assert losses[-1] < losses[0]
    assert distances[-1] < distances[0]
    for name, value in once()[2].items():
        assert torch.equal(value, weights[name]), name


def test_layers_that_do_not_fit_are_refused(tokenizers):
    teacher = new_model("toy-gpt2", tokenizers["gpt2"], n_layers=4)
    student = new_model("toy-distilgpt2", tokenizers["gpt2"], n_layers=2)
    for layers in ([0], [0, 4], [-1, 2]):
        with pytest.raises(ModelError, match="wanted a teacher layer from 0 to 3"):
            copy_layers(teacher, student, dict(enumerate(layers)))
    with pytest.raises(ModelError, match="cannot start from layers of a llama teacher"):
        copy_layers(new_model("toy-llama", tokenizers["llama"], n_layers=4), student, {0: 0, 1: 2})
