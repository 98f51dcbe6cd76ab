"""The logit difference in parts, against sums and matrices by hand on the raw modules."""

import pytest
import torch
from brute_force import ablated_logit_diff, token_batch
from brute_force import read as read_component
from hand_reads import blocks, out_matrix, read, rows_of, value, vocabulary

from circuitkit.core.component import Component, all_components
from circuitkit.models.loading import load_model
from circuitkit.roles.mlp_decomposition import decompose
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task


def _batch(model):
    return token_batch(model.info.vocab_size, [[6, 6, 9, 9], [7, 7, 12]], seed=3, answer_inside=not model.is_causal)


@pytest.mark.parametrize("name", ["gpt2", "llama", "toy-gpt2", "toy-llama"])
def test_parts_sum_to_the_logit_difference(tiny_models, name):
    model = tiny_models[name] if name in tiny_models else load_model(name)
    batch = build_batch(load_task("ioi"), model, n_prompts=6) if name.startswith("toy") else _batch(model)
    found = decompose(model, batch)
    expected = ablated_logit_diff(model.raw, model.info.family, None, batch, "zero")
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found.direct.values.sum(0), expected, atol=1e-4, rtol=0)
    heads = [str(component) for component in model.components if component.head is not None]
    rows = [found.direct.parts.index(head) for head in heads]
    torch.testing.assert_close(found.direct.by_token.sum(-1), found.direct.values[rows], atol=1e-5, rtol=0)
    assert found.notice is None


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_every_part_by_hand(tiny_models, family):
    model = tiny_models[family]
    raw, batch = model.raw, _batch(model)
    found = decompose(model, batch).direct
    mlps = {c: read_component(raw, family, c, batch.clean) for c in model.components if c.head is None}
    for row, ids, at in rows_of(batch.clean):
        streams, patterns, _ = read(raw, ids)

        def share(write, row=row, streams=streams, at=at):
            logits = vocabulary(raw, write, streams[-1][at])
            return float(logits[batch.correct_ids[row]] - logits[batch.incorrect_ids[row]])

        got = dict(zip(found.parts, found.values[:, row].tolist(), strict=True))
        expected = {"embed": share(streams[0][at])}
        heads = [c for c in all_components(model.info.n_layers, model.info.n_heads) if c.head is not None]
        for number, head in enumerate(heads):
            values = value(raw, head.layer, head.head, streams[head.layer])
            pattern = patterns[head.layer][head.head][at]
            matrix = out_matrix(raw, head.layer, head.head)
            shares = [share(pattern[key] * values[key] @ matrix) for key in range(len(ids))]
            assert found.by_token[number, row, : len(ids)].tolist() == pytest.approx(shares, abs=1e-4)
            assert (found.by_token[number, row, len(ids) :] == 0).all()
            expected[str(head)] = sum(shares)
        expected |= {str(mlp): share(written[row, at]) for mlp, written in mlps.items()}
        expected["attention bias"] = expected["final bias"] = 0.0
        if family == "gpt2":
            expected["attention bias"] = sum(share(block.attn.c_proj.bias) for block in blocks(raw))
            answers = (raw.lm_head.weight[some[row]].detach() for some in (batch.correct_ids, batch.incorrect_ids))
            correct, incorrect = answers
            expected["final bias"] = float((correct - incorrect) @ raw.transformer.ln_f.bias.detach())
        assert got == pytest.approx(expected, abs=1e-4)


def _around_mlps(raw, ids):
    """Streams before and behind every MLP, [pos, d_model]: raw hooks on what is added, or on the norms."""
    family, before, after = raw.config.model_type, [], []
    handles = []
    for block in blocks(raw):
        source = {
            "gpt2": lambda b: b.ln_2,
            "llama": lambda b: b.post_attention_layernorm,
            "bert": lambda b: b.intermediate,
            "distilbert": lambda b: b.ffn,
        }[family](block)
        handles.append(source.register_forward_pre_hook(lambda _m, args: before.append(args[0][0].clone())))
        handles.append(block.register_forward_hook(lambda _m, _a, output: after.append(output[0].clone())))
    with torch.no_grad():
        raw(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None])
    for handle in handles:
        handle.remove()
    return before, after


@torch.no_grad()
def _end(raw, stream):
    match raw.config.model_type:
        case "gpt2":
            return raw.lm_head(raw.transformer.ln_f(stream))
        case "llama":
            return raw.lm_head(raw.model.norm(stream))
        case "bert":
            return raw.cls(stream)
        case _:
            return raw.vocab_projector(raw.vocab_layer_norm(raw.activation(raw.vocab_transform(stream))))


def test_logit_lens_around_mlps(tiny_model):
    batch = _batch(tiny_model)
    found = decompose(tiny_model, batch)
    for row, ids, at in rows_of(batch.clean):
        for layer, streams in enumerate(zip(*_around_mlps(tiny_model.raw, ids), strict=True)):
            got = ((found.lens_before, found.rank_before), (found.lens_after, found.rank_after))
            for stream, (lens, rank) in zip(streams, got, strict=True):
                logits = _end(tiny_model.raw, stream[at])
                correct, incorrect = logits[batch.correct_ids[row]], logits[batch.incorrect_ids[row]]
                assert lens[layer, row] == pytest.approx(float(correct - incorrect), abs=1e-4)
                assert rank[layer, row] == 1 + int((logits > correct).sum())
    expected = ablated_logit_diff(tiny_model.raw, tiny_model.info.family, None, batch, "zero")
    torch.testing.assert_close(found.lens_after[-1], expected, atol=1e-4, rtol=0)


def test_records(tiny_model):
    batch = _batch(tiny_model)
    found = decompose(tiny_model, batch)
    rows = found.records(n_draws=200, seed=0)
    assert list(rows) == [str(Component(layer)) for layer in range(tiny_model.info.n_layers)]
    row = rows["MLP1"]
    assert list(row) == ["direct", "lens_before", "lens_after", "rank_before", "rank_after"]
    assert row["lens_before"]["mean"] == pytest.approx(float(found.lens_before[1].mean()))
    low, high = row["lens_before"]["ci95"]
    assert low < row["lens_before"]["mean"] < high
    assert row["rank_after"] == found.rank_after[1].sort().values[3]
    assert found.records(n_draws=0, seed=0)["MLP1"]["lens_before"]["ci95"] is None
    if tiny_model.family.pre_norm:
        mean = found.direct.values[found.direct.parts.index("MLP1")].mean()
        assert row["direct"]["mean"] == pytest.approx(float(mean))
    else:
        assert found.direct is None
        assert row["direct"] is None
        assert "post-LN" in found.notice
