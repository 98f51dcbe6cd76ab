"""Where prompts are cut and what is compared there, worked out by hand for every kind of tokenizer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_tokenizers import Reads, bert_like, causal, gpt2_like, llama3_like, masked

from circuitkit.core.errors import ModelError
from circuitkit.tasks.loading import load_task
from circuitkit.tasks.reading import PromptReader, Reading, Unusable

VAN = "Van done in 1. Hat done in 2. Ring done in 3. Desk done in 4. Sun done in"
VAN_LABELS = {"n1": (12, 13), "n2": (27, 28), "n3": (43, 44), "n4": (59, 60), "END": (71, 73)}


def reader(model: Reads) -> PromptReader:
    return PromptReader(
        tokenizer=model.tokenizer,
        is_causal=model.is_causal,
        max_length=model.info.max_length,
        vocab_size=model.info.vocab_size,
    )


def read(model: Reads, prompt: str, correct: str, incorrect: str, **labels: tuple[int, int]) -> Reading | Unusable:
    return reader(model).read(prompt, correct=correct, incorrect=incorrect, labels=labels)


def test_gpt2_positions_are_those_of_the_released_data() -> None:
    """Lan et al.: 23 tokens, S1..S4 at 3, 8, 13, 18, END at 22."""
    found = read(Reads(gpt2_like()), VAN, " 5", " 4", **VAN_LABELS)
    assert isinstance(found, Reading)
    assert len(found.ids) == 23
    assert found.labels == {"n1": 3, "n2": 8, "n3": 13, "n4": 18, "END": 22}
    assert found.answer_pos == 22
    assert gpt2_like().convert_ids_to_tokens([found.correct_id, found.incorrect_id]) == ["Ġ5", "Ġ4"]
    assert found.words == (0, 1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 11, 12, 13, 14, 15, 15, 16, 17, 18)


def test_llama3_splits_the_space_from_the_digit() -> None:
    """BOS first, six tokens a clause, and the space before the answer is the last thing read."""
    found = read(Reads(llama3_like()), VAN, " 5", " 4", **VAN_LABELS)
    assert isinstance(found, Reading)
    tokens = llama3_like().convert_ids_to_tokens(list(found.ids))
    assert tokens[:7] == ["<s>", "Van", "Ġdone", "Ġin", "Ġ", "1", "."]
    assert tokens[-3:] == ["Ġdone", "Ġin", "Ġ"]
    assert len(tokens) == 1 + 4 * 6 + 3 + 1
    assert found.labels == {"n1": 5, "n2": 11, "n3": 17, "n4": 23, "END": 28}
    assert llama3_like().convert_ids_to_tokens([found.correct_id, found.incorrect_id]) == ["5", "4"]
    assert found.words[0] == -1
    assert found.words[4:7] == (3, 3, 3)
    assert found.words[-3:] == (17, 18, 18)


@pytest.mark.parametrize("template", ["<s> $A </s>", "$A </s>"])
def test_an_end_token_is_never_read(template: str) -> None:
    found = read(Reads(llama3_like(template)), VAN, " 5", " 4", **VAN_LABELS)
    assert isinstance(found, Reading)
    assert llama3_like(template).convert_tokens_to_ids("</s>") not in found.ids
    assert len(found.ids) == 28 + template.startswith("<s>")


@pytest.mark.parametrize("mask", ["[MASK]", "<m>"])
@pytest.mark.parametrize("prompt", [VAN, VAN + " [MASK]"])
def test_masked_models_answer_at_the_mask(mask: str, prompt: str) -> None:
    found = read(Reads(bert_like(mask), is_causal=False), prompt, " 5", " 4", **VAN_LABELS)
    assert isinstance(found, Reading)
    assert len(found.ids) == 26
    assert found.labels == {"n1": 4, "n2": 9, "n3": 14, "n4": 19, "END": 24}
    assert found.answer_pos == 24
    assert found.ids[24] == bert_like(mask).mask_token_id
    assert (found.words[0], found.words[1], found.words[24], found.words[25]) == (-1, 0, -1, -1)


@pytest.mark.parametrize("mask", ["[MASK]", "<m>"])
def test_a_mask_in_the_middle_keeps_labels_behind_it(mask: str) -> None:
    prompt = "The [MASK] gave a ring to Mary"
    labels = {"WHO": (26, 30), "END": (26, 30)}
    found = read(Reads(bert_like(mask), is_causal=False), prompt, "king", "queen", **labels)
    assert isinstance(found, Reading), found
    tokens = bert_like(mask).convert_ids_to_tokens(list(found.ids))
    assert tokens == ["[CLS]", "the", mask, "gave", "a", "ring", "to", "mary", "[SEP]"]
    assert found.answer_pos == 2
    assert found.labels == {"WHO": 7, "END": 2}
    assert found.words == (-1, 0, -1, 2, 3, 4, 5, 6, -1)


def test_causal_models_lose_a_mask_at_the_end_and_refuse_one_before() -> None:
    model = Reads(gpt2_like())
    assert read(model, VAN + " [MASK]", " 5", " 4", **VAN_LABELS) == read(model, VAN, " 5", " 4", **VAN_LABELS)
    found = read(model, "The [MASK] gave a ring", " 5", " 4")
    assert isinstance(found, Unusable)
    assert "before the end" in found.reason


def test_what_both_answers_share_belongs_to_the_prompt() -> None:
    """A character-level model reads " J" before it must choose between John and James."""
    model = Reads(gpt2_like(vocab_size=257))
    found = read(model, "Then", " John", " James", END=(0, 4))
    assert isinstance(found, Reading)
    assert model.tokenizer.convert_ids_to_tokens(list(found.ids)) == ["T", "h", "e", "n", "Ġ", "J"]
    assert model.tokenizer.convert_ids_to_tokens([found.correct_id, found.incorrect_id]) == ["o", "a"]
    assert found.labels == {"END": 5}
    assert found.words == (0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("model", [*causal(), Reads(gpt2_like(vocab_size=257))])
def test_an_answer_that_begins_the_other_is_refused(model: Reads) -> None:
    found = read(model, "The number is", " J", " J J")
    assert isinstance(found, Unusable)
    assert "do not differ in one token" in found.reason


def test_an_answer_that_changes_how_the_prompt_is_split_is_refused() -> None:
    """Three digits are one token: 174 and 1 differ before any answer was read."""
    found = read(Reads(llama3_like()), "the year 17", "4", " May")
    assert isinstance(found, Unusable)
    assert "split differently" in found.reason


def test_masked_answers_must_be_single_known_tokens() -> None:
    model = Reads(bert_like(), is_causal=False)
    several = read(model, "Then he gave it to", " Mary Ann", " John")
    unknown = read(model, "Then he gave it to", " Mary", " ☂")
    same = read(model, "Then he gave it to", " Mary", " mary")
    twice = read(model, "[MASK] gave it to [MASK]", " Mary", " John")
    reasons = [found.reason for found in (several, unknown, same, twice) if isinstance(found, Unusable)]
    wanted = ["single", "unknown", "same", "more than"]
    assert all(word in reason for word, reason in zip(wanted, reasons, strict=True)), reasons


def test_too_long_prompts_say_by_how_much() -> None:
    model = Reads(gpt2_like(), info=type(Reads(gpt2_like()).info)(22))
    assert read(model, VAN, " 5", " 4") == Unusable("23 tokens are too long for the model, which takes 22")


def test_unknown_words_in_a_prompt_are_counted() -> None:
    found = read(Reads(bert_like(), is_causal=False), "☂ and ☂ done in", " 5", " 4")
    assert isinstance(found, Reading)
    assert found.n_unknown == 2


def test_a_label_that_is_not_read_is_refused() -> None:
    found = read(Reads(llama3_like()), "the year 17", "45", "22", XX=(9, 11))
    assert isinstance(found, Unusable)
    assert "label XX" in found.reason


def test_tokenizer_without_a_mask_or_offsets_is_refused() -> None:
    with pytest.raises(ModelError, match="no mask token"):
        read(Reads(gpt2_like(), is_causal=False), "Then", " Mary", " John")
    slow = type("Slow", (type(gpt2_like()),), {"is_fast": False})(tokenizer_object=gpt2_like().backend_tokenizer)
    with pytest.raises(ModelError, match="Slow gives no character offsets"):
        read(Reads(slow), "Then", " Mary", " John")


@pytest.mark.parametrize("model", causal())
@pytest.mark.parametrize("name", ["ioi", "numerals", "months", "simpleqa", "greater-than"])
def test_what_is_read_and_the_answer_token_begin_the_whole_text(model: Reads, name: str) -> None:
    """Law of divergence: prompt + answer tokenises to (read) + (answer token) + more, for both answers."""
    special = set(model.tokenizer.all_special_ids)
    for pair in load_task(name).pairs(60):
        found = read(model, pair.clean, pair.correct, pair.incorrect, **pair.labels)
        if isinstance(found, Unusable):
            continue
        for answer, token in ((pair.correct, found.correct_id), (pair.incorrect, found.incorrect_id)):
            ids = model.tokenizer(pair.clean + answer)["input_ids"]
            assert (*found.ids, token) == tuple(ids[: len(found.ids) + 1])
        assert found.correct_id != found.incorrect_id
        text = model.tokenizer.decode([i for i in found.ids if i not in special])
        assert name == "greater-than" or text.startswith(pair.clean)


@pytest.mark.parametrize("model", [*causal(), *masked()])
@pytest.mark.parametrize("name", ["ioi", "months"])
def test_labels_lie_on_tokens_that_hold_their_words(model: Reads, name: str) -> None:
    for pair in load_task(name).pairs(40):
        found = read(model, pair.clean, pair.correct, pair.incorrect, **pair.labels)
        assert isinstance(found, Reading)
        for label, (start, end) in pair.labels.items():
            if label == "END":
                assert found.labels[label] == found.answer_pos
                continue
            token = model.tokenizer.decode([found.ids[found.labels[label]]]).strip().removeprefix("##").lower()
            assert pair.clean[start:end].lower().endswith(token)
            assert found.words[found.labels[label]] == len(pair.clean[:end].split()) - 1


@pytest.mark.parametrize("model", [*causal(), *masked()])
@given(text=st.text(alphabet=" \n\tabM é☂1.", min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_words_number_the_words_of_the_prompt(model: Reads, text: str) -> None:
    found = read(model, text, " Mary", " John")
    if isinstance(found, Unusable) or not text.split():
        return
    words = [word for word in found.words if word >= 0]
    assert words == sorted(words)
    assert set(words) <= set(range(len(text.split())))
    if model.tokenizer.is_fast and model.is_causal:  # WordPiece may normalise a word away
        assert set(words) == set(range(len(text.split())))
