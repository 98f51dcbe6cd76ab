"""What heads write, against hooks and matrices of the raw modules, one prompt and one head at a time."""

import pytest
import torch
from brute_force import token_batch
from hand_reads import out_matrix, read, rows_of, value, vocabulary

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.models.frozen_norm import freeze_norm
from circuitkit.models.loading import load_model
from circuitkit.roles.final_lens import FinalLens
from circuitkit.roles.head_writes import key_copies, write_top
from circuitkit.roles.permuted import count_hits
from circuitkit.roles.places import places_from_keys
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task


def _batch(model, seed=3):
    return token_batch(model.info.vocab_size, [[6, 6, 9, 9], [7, 7, 12]], seed=seed, answer_inside=not model.is_causal)


def _written(model, row_ids, answer_pos, head):
    """z W_O by hand, and the final stream, both at the answer position."""
    streams, patterns, _ = read(model.raw, row_ids)
    z = patterns[head.layer][head.head][answer_pos] @ value(model.raw, head.layer, head.head, streams[head.layer])
    return z @ out_matrix(model.raw, head.layer, head.head), streams[-1][answer_pos]


def _check_top(model, batch, heads, k):
    found = write_top(model, batch, heads, k=k, n_draws=10)
    for number, head in enumerate(heads):
        for row, ids, answer_pos in rows_of(batch.clean):
            logits = vocabulary(model.raw, *_written(model, ids, answer_pos, head))
            top = found.top[number, row]
            torch.testing.assert_close(logits[top], logits.topk(k).values, atol=1e-4, rtol=1e-4)
            for hits, answers in ((found.correct, batch.correct_ids), (found.incorrect, batch.incorrect_ids)):
                assert hits.found[number, row] == float(answers[row] in top)
    assert (found.notice is None) == model.family.pre_norm
    return found


def test_top_tokens_of_writes(tiny_model):
    heads = [Component(1, 2), Component(0, 1), Component(0, 0)]
    found = _check_top(tiny_model, _batch(tiny_model), heads, k=60)
    assert 0 < found.correct.found.mean() < 1, "nothing to tell apart"


@pytest.mark.parametrize("name", ["toy-gpt2", "toy-bert", "toy-distilbert", "toy-llama"])
def test_top_tokens_of_trained_models(name):
    model = load_model(name)
    batch = build_batch(load_task("numerals"), model, n_prompts=4)
    _check_top(model, batch, [Component(model.info.n_layers - 1, 0), Component(1, 1)], k=5)


def test_attended_tokens_that_heads_copy_or_suppress(tiny_model):
    batch, k = _batch(tiny_model), 80
    generator = torch.Generator().manual_seed(0)
    n, length = batch.clean.ids.shape
    keys = (
        (torch.rand(n, length, length, generator=generator) < 0.1)
        & batch.clean.mask[:, None]
        & (batch.clean.mask[:, :, None])
    )
    keys[2] = False
    heads = [Component(1, 2), Component(0, 3)]
    found = key_copies(tiny_model, batch, places_from_keys(keys), heads, k=k, n_draws=10)
    for number, head in enumerate(heads):
        for row, ids, answer_pos in rows_of(batch.clean):
            streams, _, _ = read(tiny_model.raw, ids)
            values = value(tiny_model.raw, head.layer, head.head, streams[head.layer])
            copied, suppressed = [], []
            for key in sorted({key for query in range(length) for key in range(length) if keys[row, query, key]}):
                write = values[key] @ out_matrix(tiny_model.raw, head.layer, head.head)
                logits = vocabulary(tiny_model.raw, write, streams[-1][answer_pos])
                own = logits[ids[key]]
                copied.append(float((logits > own).sum() < k))
                suppressed.append(float((logits < own).sum() < k))
            assert (row == 2) == (not copied)
            for hits, expected in ((found.copies, copied), (found.suppresses, suppressed)):
                assert hits.found[number, row] == pytest.approx(sum(expected) / max(1, len(expected)))
                assert hits.defined[row] == (row != 2)
    assert 0 < found.copies.found.mean() < 1
    assert 0 < found.suppresses.found.mean() < 1


def test_a_frozen_norm_is_the_norm_of_its_own_stream_and_linear():
    stream, some, other = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    norm = torch.nn.LayerNorm(8)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    frozen = freeze_norm(norm, stream)
    torch.testing.assert_close(frozen.of(stream) + frozen.bias, norm(stream))
    torch.testing.assert_close(frozen.of(some + 2 * other), frozen.of(some) + 2 * frozen.of(other))
    torch.testing.assert_close((frozen.of(some) * other).sum(-1), (some * frozen.back(other)).sum(-1))


def test_hits_and_their_null_by_hand():
    """Two prompts with one place, one with two, one with none."""
    top = torch.tensor([[[1], [2], [3], [4]], [[7], [7], [7], [7]]])
    tokens, prompt = torch.tensor([1, 2, 3, 9]), torch.tensor([0, 1, 2, 2])
    hits = count_hits(top, tokens, prompt, n_prompts=4, n_draws=4000, seed=0)
    assert hits.found.tolist() == [[1, 1, 0.5, 0], [0, 0, 0, 0]]
    assert hits.defined.tolist() == [True, True, True, False]
    assert hits.rate.tolist() == pytest.approx([2.5 / 3, 0])
    # every place holds its token in 1 of 4 permutations, and places weigh 1/3, 1/3, 1/6, 1/6 (the last never holds)
    assert hits.null.mean(0).tolist() == pytest.approx([(1 / 3 + 1 / 3 + 1 / 6) / 4, 0], abs=0.01)


def test_what_cannot_be_asked_is_said(tiny_models):
    batch, stream = _batch(tiny_models["bert"]), torch.zeros(1, tiny_models["bert"].info.d_model)
    with pytest.raises(OptionError, match="wanted a pre-LN model"):
        FinalLens(tiny_models["bert"], stream).direction(batch.correct_ids[:1], batch.incorrect_ids[:1])
    with pytest.raises(OptionError, match="MLP0 is no head"):
        write_top(tiny_models["bert"], batch, [Component(0)])
    with pytest.raises(OptionError, match="L9H0 is no head"):
        write_top(tiny_models["bert"], batch, [Component(9, 0)])
    with pytest.raises(OptionError, match="Top 0 tokens"):
        write_top(tiny_models["bert"], batch, [Component(0, 0)], k=0)
