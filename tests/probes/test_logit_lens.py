"""The logit lens against the raw language-model head."""

from dataclasses import replace

import pytest
import torch
from brute_lens import HEADS, streams_of
from tiny_tasks import labelled

from circuitkit.core.errors import OptionError
from circuitkit.probes.logit_lens import logit_lens


def test_lens_reads_every_stream_by_the_models_own_head(tiny_model):
    batch, raw, family = labelled(tiny_model), tiny_model.raw, tiny_model.info.family
    found = logit_lens(tiny_model, batch, batch_size=3)
    assert found.stages == ("embed", *(f"block{n}" for n in range(tiny_model.info.n_layers)))
    assert found.additive == tiny_model.is_causal
    for row, mask in enumerate(batch.clean.mask):
        streams, last = streams_of(raw, family, batch.clean.ids[row][mask][None])
        last = last[0, batch.clean.answer_pos[row]]
        for stage, stream in enumerate(streams):
            with torch.no_grad():
                logits = HEADS[family](raw, stream)[0, batch.clean.answer_pos[row]]
            correct, incorrect = logits[batch.correct_ids[row]], logits[batch.incorrect_ids[row]]
            torch.testing.assert_close(found.logit_diff[stage, row], correct - incorrect, atol=1e-4, rtol=0)
            assert found.rank[stage, row] == (logits > correct).sum()
            foreign = next(
                x for x in (*batch.correct_ids[row + 1 :], *batch.correct_ids) if x != batch.correct_ids[row]
            )
            assert found.other_rank[stage, row] == (logits > logits[foreign]).sum()
            assert found.top[stage, row] == logits.argmax()
        torch.testing.assert_close(logits, last, atol=1e-4, rtol=0)


def test_summary_counts_what_is_on_top(tiny_models):
    found = logit_lens(tiny_models["gpt2"], labelled(tiny_models["gpt2"]))
    for stage, words in zip(found.to_dict()["stages"], found.top_words, strict=True):
        assert [word["n_prompts"] for word in stage["top_words"]] == sorted((n for _, n in words), reverse=True)
        assert 0 <= stage["top1"] <= 1
    batch = labelled(tiny_models["gpt2"])
    same = replace(batch, correct_ids=torch.full_like(batch.correct_ids, 7))
    alone = logit_lens(tiny_models["gpt2"], same)
    assert alone.other_rank is None and alone.to_dict()["stages"][0]["median_other_rank"] is None
    with pytest.raises(OptionError, match="Batch size 0"):
        logit_lens(tiny_models["gpt2"], labelled(tiny_models["gpt2"]), batch_size=0)
