"""QK matrices of matched heads against raw attention, plain numpy and a hand-worked case."""

import math

import numpy as np
import pytest
import torch
from study_pairs import make_pair

from circuitkit.core.bootstrap import BootstrapWeights
from circuitkit.core.errors import OptionError
from circuitkit.experiments.experiment import run_study
from circuitkit.experiments.qk_agreement import agreement, agreement_interval, correlations
from circuitkit.experiments.qk_matrices import label_words
from circuitkit.experiments.study_options import StudyOptions

PAIRS = [
    ("toy-gpt2", "toy-distilgpt2"),
    ("toy-bert", "toy-distilbert"),
    ("toy-llama", "toy-minitron"),
    ("toy-gpt2", "toy-distilbert"),
]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def pair(request):
    return make_pair(*request.param, n_prompts=10, task="numerals")


@pytest.fixture(scope="module")
def study(pair):
    return run_study("qk", [pair], StudyOptions(top=2))


def raw_attention(model, batch):
    """Mean attention between the labels of every head, from the Hugging Face model's own output: [head, q, k, row]."""
    raw, labels = model.eager_clone(), list(batch.label_positions)
    found = []
    for row in range(len(batch.pairs)):
        n = int(batch.clean.mask[row].sum())
        with torch.no_grad():
            out = raw(batch.clean.ids[row : row + 1, :n], output_attentions=True)
        at = torch.tensor([int(batch.label_positions[label][row]) for label in labels])
        found.append(torch.cat([layer[0] for layer in out.attentions])[:, at][:, :, at])
    return labels, torch.stack(found, -1).numpy()


def test_attention_and_scores_are_those_of_the_raw_models(pair, study):
    """The table's attention is the raw one; differences of its scores are mean log ratios of the raw attention."""
    cells = study.frame("labels")
    for who, model, batch in (
        ("teacher", pair.teacher_model, pair.batches[0]),
        ("student", pair.student_model, pair.batches[1]),
    ):
        labels, attention = raw_attention(model, batch)
        names = [str(c) for c in model.components]
        causal = model.is_causal
        for (name, query), rows in cells.groupby([who, "query"]):
            open_ = rows[rows[f"{who}_score"].notna()]
            own = attention[names.index(name), labels.index(query)]
            keys = [labels.index(key) for key in open_["key"]]
            if causal:
                assert set(open_["key"]) == {key for key in labels if labels.index(key) <= labels.index(query)}
            np.testing.assert_allclose(open_[f"{who}_attention"], own[keys].mean(-1), atol=1e-5)
            logs = np.log(own[keys].astype(float)).mean(-1)
            np.testing.assert_allclose(open_[f"{who}_relative"], logs - logs.mean(), atol=2e-3)
            scores = open_[f"{who}_score"]
            np.testing.assert_allclose(open_[f"{who}_relative"], scores - scores.mean(), atol=1e-4)
            if len(open_):
                low, high = zip(*open_[f"{who}_score_ci95"], strict=True)
                assert (np.array(low) <= scores + 1e-5).all() and (scores - 1e-5 <= np.array(high)).all()


def test_agreement_is_a_correlation_of_centred_rows(pair, study):
    cells, heads = study.frame("labels"), study.frame("heads")
    for kind, column in (("score", "score"), ("attention", "attention")):
        for _, head in heads.iloc[:2].iterrows():
            own = cells[(cells["teacher"] == head["teacher"]) & (cells["student"] == head["student"])]
            both = own[own[f"teacher_{column}"].notna() & own[f"student_{column}"].notna()]
            values = [
                (both[f"{who}_{column}"] - both.groupby("query")[f"{who}_{column}"].transform("mean")).astype(float)
                for who in ("teacher", "student")
            ]
            assert head[kind] == pytest.approx(np.corrcoef(*values)[0, 1], abs=1e-3)
            assert head[f"{kind}_ci95"][0] - 1e-6 <= head[kind] <= head[f"{kind}_ci95"][1] + 1e-6
            assert (
                1
                <= head[f"{kind}_rank"]
                <= head["of"]
                == pair.student_model.info.n_layers * pair.student_model.info.n_heads
            )
    assert list(heads["teacher_influence"]) == sorted(heads["teacher_influence"], reverse=True)


def test_every_number_of_a_figure_is_in_a_table(study):
    labels, words = study.frame("labels"), study.frame("words") if "words" in study.tables else None
    assert sum("-scores-" in key for key in study.figures) == sum("-attention-" in key for key in study.figures) == 4
    for key, figure in study.figures.items():
        teacher, student, what, who = key.split("-")
        table, column = {
            "scores": (labels, "relative"),
            "attention": (labels, "attention"),
            "words": (words, "relative"),
        }[what]
        rows = table[(table["teacher"] == teacher) & (table["student"] == student)].set_index(["query", "key"])
        for query, values in zip(figure.rows, figure.values, strict=True):
            for key_, value in zip(figure.columns, values, strict=True):
                if value is not None:
                    assert value == pytest.approx(rows.loc[(query, key_), f"{who}_{column}"], abs=1e-4)


def test_words_stand_at_labels_and_are_single_tokens_of_both(pair):
    words = label_words((pair.teacher_model, pair.student_model), pair.batches[0])
    texts = [p.clean[slice(*p.labels[label])] for p in pair.batches[0].pairs for label in p.labels if label != "END"]
    assert set(word.strip() for word in words) <= {text.strip() for text in texts}
    for model in (pair.teacher_model, pair.student_model):
        assert all(len(model.tokenizer(word, add_special_tokens=False)["input_ids"]) == 1 for word in words)
    assert len(words) > 1


def test_a_model_beside_itself_agrees_fully():
    study = run_study("qk", [make_pair("toy-gpt2", "toy-gpt2", n_prompts=8, task="numerals", bootstrap=0)])
    heads = study.frame("heads")
    for kind in ("score", "attention", "words"):
        assert heads[kind].tolist() == pytest.approx([1.0] * 16)
        assert (heads[f"{kind}_rank"] == 1).all() and heads[f"{kind}_ci95"].isna().all()
    assert "16 of 16 matched teacher heads" in study.findings[0]


def test_correlation_by_hand():
    """Only differences within rows count: a constant added to a row changes nothing, a turned row does."""
    readable = torch.ones(2, 3, dtype=torch.bool)
    one = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    assert float(correlations(one, one + torch.tensor([[5.0], [-7.0]]), readable)) == pytest.approx(1)
    turned = torch.tensor([[0.0, 1.0, 2.0], [1.0, 3.0, 2.0]])
    assert float(correlations(one, turned, readable)) == pytest.approx(0, abs=1e-9)
    assert math.isnan(float(correlations(one, torch.zeros(2, 3), readable)))
    assert math.isnan(float(correlations(one[:1, :2], one[:1, :2], readable[:1, :2])))
    found = agreement(one, torch.stack([turned, one, -one, torch.zeros(2, 3)]), 0, readable)
    assert (found.value, found.rank) == (pytest.approx(0, abs=1e-9), 2)
    assert found.others == pytest.approx(0, abs=1e-9)  # of 1 and -1; the constant head has none


def test_interval_resamples_prompts_of_both_models_together():
    """Against a plain loop over the same draws, with a cell that some prompts lack."""
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(3, 3, 12, generator=generator) for _ in range(2))
    other = other + one
    one[1, 2, :4] = other[1, 2, :4] = torch.nan
    weights = BootstrapWeights(n_prompts=12, n_draws=40, seed=1)
    readable = torch.ones(3, 3, dtype=torch.bool)
    draws = []
    for block in weights.blocks():
        for draw in block.numpy():
            sides = []
            for values in (one.double().numpy(), other.double().numpy()):
                mean = np.nansum(values * draw, -1) / (np.isfinite(values) * draw).sum(-1)
                sides.append((mean - mean.mean(1, keepdims=True)).ravel())
            draws.append(np.corrcoef(*sides)[0, 1])
    found = agreement_interval(one, other, readable, weights)
    np.testing.assert_allclose(found, np.quantile(draws, [0.025, 0.975]), atol=1e-6)
    assert agreement_interval(one, other, readable, None) is None


def test_prompts_without_labels_are_refused(pair):
    from dataclasses import replace

    batches = tuple(replace(batch, label_positions={}) for batch in pair.batches)
    with pytest.raises(OptionError, match="share no labels"):
        run_study("qk", [replace(pair, batches=batches)])
