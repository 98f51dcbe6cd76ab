"""Attention and fit between labels against the raw models' own patterns and weights."""

import pytest
import torch
from tiny_models import build_raw
from tiny_tasks import labelled

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.models.loading import wrap_model
from circuitkit.probes.geometry import all_token_scores, label_maps, token_scores


@pytest.mark.parametrize("side", ["clean", "corrupted"])
def test_patterns_are_those_of_eager_attention(tiny_model, side):
    batch = labelled(tiny_model)
    found = label_maps(tiny_model, batch, side=side)
    block = getattr(batch, side)
    eager = tiny_model.eager_clone()
    expected = torch.zeros(len(found.components), len(found.labels), len(found.labels))
    counts = torch.zeros(len(found.labels), len(found.labels))
    for row, mask in enumerate(block.mask):
        with torch.no_grad():
            attentions = eager(block.ids[row][mask][None], output_attentions=True).attentions
        for a, query in enumerate(found.labels):
            for b, key in enumerate(found.labels):
                i, j = (int(batch.label_positions[name][row]) for name in (query, key))
                if tiny_model.is_causal and j > i:
                    continue
                counts[a, b] += 1
                expected[:, a, b] += torch.cat([layer[0, :, i, j] for layer in attentions])
    torch.testing.assert_close(found.pattern, expected / counts.clamp(min=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.readable, counts / len(batch.pairs))


def test_differences_of_scores_are_log_ratios_of_attention(tiny_model):
    """The softmax leaves the difference of two scores of one query as the log ratio of what the two get."""
    batch = labelled(tiny_model, ((7,),))
    found = label_maps(tiny_model, batch)
    end = found.labels.index("END")
    keys = [i for i, name in enumerate(found.labels) if name in ("A", "B") and found.readable[end, i]]
    logs, scores = found.pattern[:, end, keys].log(), found.scores[:, end, keys]
    torch.testing.assert_close(logs[:, 0] - logs[:, 1], scores[:, 0] - scores[:, 1], atol=1e-4, rtol=0)


def test_kept_heads_hold_every_prompt(tiny_model):
    """Means over the prompts that can be read are the maps; what cannot be read is no number."""
    batch = labelled(tiny_model, ((5, 5), (8, 7), (6,)))
    chosen = (Component(1, 2), Component(0, 0))
    found = label_maps(tiny_model, batch, keep=chosen, batch_size=2)
    assert found.kept == (Component(0, 0), Component(1, 2))
    for i, head in enumerate(found.kept):
        at = found.components.index(head)
        for each, means in ((found.each_pattern, found.pattern), (found.each_score, found.scores)):
            torch.testing.assert_close(each[i].nanmean(-1).nan_to_num(0), means[at], atol=1e-5, rtol=0)
            torch.testing.assert_close(each[i].isfinite().float().mean(-1), found.readable)
    whole = label_maps(tiny_model, batch)
    torch.testing.assert_close(whole.pattern, found.pattern, atol=1e-5, rtol=0)
    assert whole.each_pattern.shape[0] == 0
    record = whole.to_dict()
    assert record["heads"]["L1H2"]["attention"] == whole.pattern[whole.components.index(Component(1, 2))].tolist()
    with pytest.raises(OptionError, match="MLP0 is no head"):
        label_maps(tiny_model, batch, keep=(Component(0),))


def test_frame_leaves_out_what_cannot_be_read(tiny_models):
    found = label_maps(tiny_models["gpt2"], labelled(tiny_models["gpt2"]))
    frame = found.frame()
    assert len(frame) == len(found.components) * int((found.readable > 0).sum())
    assert not ((frame["query"] == "A") & (frame["key"] == "END")).any()


def test_token_scores_from_the_weights(tiny_models):
    """GPT-2 and Llama (two query heads share a key head) written out from the parameters."""
    words = [" Mary", " John", " store"]
    model = tiny_models["gpt2"]
    raw, ids = model.raw.transformer, torch.tensor([model.tokenizer(w)["input_ids"][0] for w in words])
    with torch.no_grad():
        x = raw.h[1].ln_1(raw.wte.weight[ids] + raw.wpe.weight[0])
        joint = x @ raw.h[1].attn.c_attn.weight + raw.h[1].attn.c_attn.bias
        expected = joint[:, 16:24] @ joint[:, 32 + 16 : 32 + 24].T / 8**0.5
    torch.testing.assert_close(token_scores(model, Component(1, 2), words), expected, atol=1e-5, rtol=0)

    model = tiny_models["llama"]
    raw = model.raw.model
    ids = torch.tensor([model.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in words])
    with torch.no_grad():
        x = raw.layers[1].input_layernorm(raw.embed_tokens.weight[ids])
        attention = raw.layers[1].self_attn
        expected = (x @ attention.q_proj.weight[24:32].T) @ (x @ attention.k_proj.weight[8:16].T).T / 8**0.5
    torch.testing.assert_close(token_scores(model, Component(1, 3), words), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_token_scores_of_post_norm_models(tiny_models):
    """BERT and DistilBERT: the embedding with its norm is what a block reads, with no norm before it."""
    words = ["mary", "john", "store"]
    for family in ("bert", "distilbert"):
        model = tiny_models[family]
        ids = torch.tensor([model.tokenizer(w, add_special_tokens=False)["input_ids"] for w in words])
        x = getattr(model.raw, family).embeddings(ids)[:, 0]
        if family == "bert":
            attention = model.raw.bert.encoder.layer[1].attention.self
            q, k = attention.query(x), attention.key(x)
        else:
            attention = model.raw.distilbert.transformer.layer[1].attention
            q, k = attention.q_lin(x), attention.k_lin(x)
        d = model.info.d_head
        expected = q[:, 2 * d : 3 * d] @ k[:, 2 * d : 3 * d].T / d**0.5
        torch.testing.assert_close(token_scores(model, Component(1, 2), words), expected, atol=1e-5, rtol=0)


def test_all_token_scores_are_those_of_each_head(tiny_model):
    words = ["mary", "john"] if "bert" in tiny_model.info.family else [" Mary", " John"]
    found = all_token_scores(tiny_model, words)
    heads = [c for c in tiny_model.components if c.kind == "head"]
    for scores, head in zip(found, heads, strict=True):
        assert torch.equal(scores, token_scores(tiny_model, head, words))


def test_what_cannot_be_mapped_is_refused(tiny_models):
    model = tiny_models["gpt2"]
    batch = labelled(model)
    with pytest.raises(OptionError, match="Side 'left' unknown"):
        label_maps(model, batch, side="left")
    with pytest.raises(OptionError, match="not a single token"):
        token_scores(model, Component(0, 0), [" unheardofword"])
    with pytest.raises(OptionError, match="MLP0 is no head"):
        token_scores(model, Component(0), [" Mary"])


def test_words_fit_alike_in_equal_models(tiny_models):
    model = tiny_models["gpt2"]
    same = wrap_model(build_raw("gpt2", vocab_size=model.info.vocab_size), model.tokenizer, name="again")
    words = [" Mary", " John"]
    assert torch.equal(token_scores(model, Component(0, 1), words), token_scores(same, Component(0, 1), words))
