"""Attention against patterns read off the raw models."""

from dataclasses import replace

import pytest
import torch
from study_pairs import make_pair

from circuitkit.experiments.attention_figures import MOST_TOKENS, attention_figures
from circuitkit.experiments.attention_readings import read_attention
from circuitkit.experiments.experiment import run_study
from circuitkit.experiments.study_options import StudyOptions

PAIRS = [("toy-gpt2", "toy-distilgpt2"), ("toy-bert", "toy-distilbert"), ("toy-gpt2", "toy-distilbert")]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def pair(request):
    return make_pair(*request.param)


def raw_patterns(model, batch, row):
    """Attention of every head on one prompt, from the Hugging Face model's own output."""
    n = int(batch.clean.mask[row].sum())
    raw = model.eager_clone()
    with torch.no_grad():
        out = raw(batch.clean.ids[row : row + 1, :n], output_attentions=True)
    return torch.cat([layer[0] for layer in out.attentions])


def test_readings_are_those_of_the_raw_model(pair):
    for model, batch in zip((pair.teacher_model, pair.student_model), pair.batches, strict=True):
        found = read_attention(model, batch, batch_size=5)
        assert found.labels[-1] == "END"
        lengths = batch.clean.mask.sum(1).tolist()
        keys = [(p.template, n) for p, n in zip(batch.pairs, lengths, strict=True)]
        common = max(dict.fromkeys(keys), key=keys.count)
        mean = []
        for row, key in enumerate(keys):
            patterns = raw_patterns(model, batch, row)
            end = int(batch.clean.answer_pos[row])
            for i, label in enumerate(found.labels):
                at = end if label == "END" else int(batch.label_positions[label][row])
                torch.testing.assert_close(found.to_labels[:, i, row], patterns[:, end, at], atol=1e-5, rtol=0)
            readable = end + 1 if model.is_causal else lengths[row]
            assert float(found.uniform[row]) == pytest.approx(1 / readable)
            if key == common:
                mean.append(patterns)
        assert found.n_averaged == len(mean)
        torch.testing.assert_close(found.mean_pattern, torch.stack(mean).mean(0), atol=1e-5, rtol=0)
        assert len(found.tokens) == found.mean_pattern.shape[1]


def test_tables_hold_means_and_the_heads_beside(pair):
    study = run_study("attention", [pair], StudyOptions(top=2))
    found = read_attention(pair.teacher_model, pair.batches[0])
    table = study.frame("labels")
    names = [str(c) for c in pair.teacher.components]
    for row in table.itertuples():
        head, label = names.index(row.teacher), found.labels.index(row.label)
        means = found.to_labels[:, label].double().mean(1)
        assert row.teacher_attention == pytest.approx(float(means[head]))
        assert row.teacher_others == pytest.approx(float((means.sum() - means[head]) / (len(means) - 1)))
        assert row.teacher_ci95[0] <= row.teacher_attention <= row.teacher_ci95[1]
        assert row.difference == pytest.approx(row.student_attention - row.teacher_attention, abs=1e-6)
    patterns = study.frame("patterns")
    alike = pair.similarity("pattern").heads
    students = [str(c) for c in pair.student.components]
    assert list(patterns["teacher_influence"]) == sorted(patterns["teacher_influence"], reverse=True)
    for row in patterns.itertuples():
        own = alike[names.index(row.teacher)]
        s = students.index(row.student)
        assert row.pattern == pytest.approx(float(own[s]))
        assert row.rank == 1 + sum(x > own[s] for x in own)
    assert sum(key.endswith(("-teacher", "-student")) for key in study.figures) == 4
    assert study.figures["teacher-labels"].columns == found.labels


def test_long_patterns_say_what_is_left_out(pair):
    models = pair.teacher_model, pair.student_model
    sides = [read_attention(model, batch) for model, batch in zip(models, pair.batches, strict=True)]
    assert "Only the last" not in attention_figures(pair, sides, [(0, 0, 1.0)])["L0H0-L0H0-teacher"].note
    n = MOST_TOKENS + 5
    pattern = torch.eye(n).expand(len(sides[0].mean_pattern), n, n)
    sides[0] = replace(sides[0], tokens=tuple(map(str, range(n))), mean_pattern=pattern)
    figure = attention_figures(pair, sides, [(0, 0, 1.0)])["L0H0-L0H0-teacher"]
    assert len(figure.rows) == MOST_TOKENS and f"Only the last {MOST_TOKENS} of {n} tokens are drawn." in figure.note


def test_heads_matched_by_patterns_are_no_evidence_that_patterns_agree():
    by_pattern, by_output = (
        run_study("attention", [make_pair(n_prompts=8, bootstrap=0, similarity=option)]).caution
        for option in ("pattern", "output")
    )
    assert "by construction" in by_pattern and "not by where they look" in by_output
