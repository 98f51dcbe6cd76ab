"""Attention and fit between labels against the raw models' own patterns and weights."""

import pytest
import torch
from tiny_models import build_raw
from tiny_tasks import labelled

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.models.loading import wrap_model
from circuitkit.probes.geometry import label_maps, token_scores


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
