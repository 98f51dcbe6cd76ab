"""Positions shared by two tokenizers, worked by hand and against loops over words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from brute_force import token_batch
from raw_similarity import components, cosine, flat_mean, patterns_by_prompt, writes_by_prompt

from circuitkit.alignment.positions import UnitView, share_positions, view_units
from circuitkit.alignment.prompts import shared_batches
from circuitkit.alignment.similarity.measure import measure_similarity
from circuitkit.core.errors import TaskError
from circuitkit.tasks.loading import load_task
from circuitkit.tasks.token_block import TokenBlock


def block(words: list[list[int | None]]) -> TokenBlock:
    """One entry a token: its word, -1 for a special token, None for padding."""
    mask = torch.tensor([[w is not None for w in row] for row in words])
    return TokenBlock(
        ids=torch.arange(mask.numel()).reshape(mask.shape),
        mask=mask,
        answer_pos=mask.sum(1) - 1,
        words=torch.tensor([[-1 if w is None else w for w in row] for row in words]),
    )


def batch_of(words: list[list[int | None]], templates: str):
    base = token_batch(50, [[4] * len(words)])
    pairs = tuple(replace(pair, template=t) for pair, t in zip(base.pairs, templates, strict=True))
    return replace(base, clean=block(words), pairs=pairs)


TEACHER = batch_of([[0, 0, 1, 2, None], [0, 1, 1, 1, 2], [0, 1, 2, 3, 3]], "aab")
STUDENT = batch_of([[-1, 0, 1, 2, 2, -1], [-1, 0, 1, 2, -1, None], [-1, 0, 1, 2, -1, None]], "aab")


def test_same_tokens_share_tokens():
    batch = token_batch(50, [[3, 3], [4, 4, 2]])
    wider = replace(
        batch,
        clean=TokenBlock(
            ids=torch.nn.functional.pad(batch.clean.ids, (0, 2), value=9),
            mask=torch.nn.functional.pad(batch.clean.mask, (0, 2)),
            answer_pos=batch.clean.answer_pos,
            words=torch.nn.functional.pad(batch.clean.words, (0, 2), value=-1),
        ),
    )
    for pair in ((batch, batch), (batch, wider), (wider, batch)):
        shared = share_positions(*pair)
        assert shared.unit == "token"
        # groups in order of template and length: (0, 3), (1, 2), (1, 4)
        assert shared.slot.tolist() == [
            [0, 1, 2, -1],
            [0, 1, 2, -1],
            [5, 6, 7, 8],
            [5, 6, 7, 8],
            [3, 4, -1, -1],
        ]
        assert torch.equal(shared.slot, shared.row)


def test_ungrouped_prompts_share_one_slot():
    shared = share_positions(*[token_batch(50, [[2, 3]], positional=False)] * 2)
    assert shared.slot.tolist() == [[0, 0, -1], [0, 0, 0]]
    assert shared.row.tolist() == [[0, 1, -1], [0, 1, 2]]


def test_words_worked_by_hand():
    """The fourth word of the third prompt, which the student lacks, is left out."""
    shared = share_positions(TEACHER, STUDENT)
    assert shared.unit == "word"
    assert shared.present.tolist() == [[True, True, True, False]] * 3
    assert shared.slot.tolist() == [[0, 1, 2, -1], [0, 1, 2, -1], [3, 4, 5, -1]]
    rows = torch.tensor([0])
    view = view_units(TEACHER.clean, shared, rows, length=4, device=torch.device("cpu"))
    x = torch.tensor([1.0, 3.0, 5.0, 7.0])[None, :, None]
    assert view.activations(x).flatten().tolist() == [2, 5, 7, 0]
    pattern = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.2, 0.6, 0], [0.1, 0.2, 0.3, 0.4]])
    found = view.patterns(pattern[None, None])[0, 0]
    expected = [[1, 0, 0, 0], [0.4, 0.6, 0, 0], [0.3, 0.3, 0.4, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(found, torch.tensor(expected).double())


def test_special_tokens_are_left_out():
    """[CLS] and [SEP] get attention that no word gets."""
    shared = share_positions(TEACHER, STUDENT)
    view = view_units(STUDENT.clean, shared, torch.tensor([0]), length=6, device=torch.device("cpu"))
    x = torch.tensor([100.0, 1, 2, 3, 5, 100])[None, :, None]
    assert view.activations(x).flatten().tolist() == [1, 2, 4, 0]
    uniform = torch.full((1, 1, 6, 6), 1 / 6)
    torch.testing.assert_close(view.patterns(uniform)[0, 0, :3, :3], torch.tensor([[1, 1, 2]] * 3).double() / 6)


def test_padding_is_left_out():
    view = UnitView(present=torch.tensor([[True, True, False]]), member=None)
    assert view.patterns(torch.ones(1, 1, 3, 3))[0, 0, 0].tolist() == [1, 1, 0]


def test_nothing_in_common_is_an_error():
    silent = replace(STUDENT, clean=block([[-1, -1, None]] * 3))
    with pytest.raises(TaskError, match="has no word that both tokenizers see"):
        share_positions(TEACHER, silent)


@pytest.mark.parametrize("pair", [("gpt2", "distilbert"), ("llama", "bert")])
def test_similarity_by_words_equals_loops(tiny_models, pair):
    """A causal and a masked model on a real task: averages over words, groups of template and word count."""
    models = tuple(tiny_models[family] for family in pair)
    task = load_task("numerals")
    batches = shared_batches(*models, task, n_prompts=12, seed=0, need_corrupted=False)
    n = len(batches[0].pairs)
    members = [[_word_tokens(batch.clean, row) for row in range(n)] for batch in batches]
    assert members[0] != members[1]
    keys = [(p.template, len(p.clean.split())) for p in batches[0].pairs]
    groups = [[i for i in range(n) if keys[i] == key] for key in dict.fromkeys(keys)]

    flat = []
    for model, batch, words in zip(models, batches, members, strict=True):
        flat.append([])
        for head in components(model.raw)[0]:
            writes = writes_by_prompt(model, batch, head)
            means = [np.array([w[t].mean(0) for t in words[i]]) for i, w in enumerate(writes)]
            flat[-1].append(flat_mean(means, groups))
    expected = np.array([[cosine(t, s) for s in flat[1]] for t in flat[0]])
    found = measure_similarity(models, batches, option="output", batch_size=5)
    torch.testing.assert_close(found.heads, torch.from_numpy(expected), atol=1e-5, rtol=0)
    assert "averaged over words" in found.notices[0]

    patterns = []
    for model, batch, words in zip(models, batches, members, strict=True):
        by_word = []
        for i, pattern in enumerate(patterns_by_prompt(model, batch)):
            rows = np.stack([pattern[:, t].mean(1) for t in words[i]], axis=1)
            by_word.append(np.stack([rows[:, :, t].sum(2) for t in words[i]], axis=2))
        patterns.append(by_word)
    total, count = 0, 0
    for rows in groups:
        means = [np.mean([side[i] for i in rows], axis=0) for side in patterns]
        for query in range(means[0].shape[1]):
            each = [[cosine(t[query], s[query]) for s in means[1]] for t in means[0]]
            total, count = total + len(rows) * np.array(each), count + len(rows)
    found = measure_similarity(models, batches, option="pattern", batch_size=5)
    torch.testing.assert_close(found.heads, torch.from_numpy(total / count), atol=1e-5, rtol=0)


def _word_tokens(clean: TokenBlock, row: int) -> list[list[int]]:
    """Tokens of each word of a prompt; every word has some."""
    words = clean.words[row].tolist()
    return [[i for i, w in enumerate(words) if w == word] for word in range(max(words) + 1)]
