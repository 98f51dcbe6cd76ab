"""The logit lens of two models against the raw heads and plain numpy."""

import numpy as np
import pytest
import torch
from brute_lens import HEADS, streams_of
from study_pairs import make_pair

from circuitkit.experiments.experiment import run_study
from circuitkit.experiments.lens_study import _from

PAIRS = [("toy-gpt2", "toy-distilgpt2"), ("toy-bert", "toy-distilbert"), ("toy-llama", "toy-minitron")]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def pair(request):
    return make_pair(*request.param, n_prompts=12, task="numerals")


@pytest.fixture(scope="module")
def study(pair):
    return run_study("logit-lens", [pair])


def raw_lens(model, batch):
    """Logit difference, rank of the answer and of another prompt's, [stage, prompt], from the raw modules."""
    correct = batch.correct_ids.tolist()
    diff, rank, other = [], [], []
    for row, answer in enumerate(correct):
        end = int(batch.clean.answer_pos[row])
        streams, _ = streams_of(model.raw, model.info.family, batch.clean.ids[row][batch.clean.mask[row]][None])
        with torch.no_grad():
            logits = torch.stack([HEADS[model.info.family](model.raw, stream)[0, end] for stream in streams])
        foreign = next(x for x in (correct * 2)[row + 1 :] if x != answer)
        diff.append(logits[:, answer] - logits[:, batch.incorrect_ids[row]])
        rank.append(1 + (logits > logits[:, answer, None]).sum(1))
        other.append(1 + (logits > logits[:, foreign, None]).sum(1))
    return [torch.stack(x, 1).double().numpy() for x in (diff, rank, other)]


def test_stages_are_those_of_the_raw_modules(pair, study):
    stages = study.frame("stages")
    for who, model, batch in (
        ("teacher", pair.teacher_model, pair.batches[0]),
        ("student", pair.student_model, pair.batches[1]),
    ):
        own = stages[stages["model"] == who]
        diff, rank, other = raw_lens(model, batch)
        assert own["stage"].tolist() == ["embed", *(f"block{n}" for n in range(model.info.n_layers))]
        assert own["depth"].tolist() == pytest.approx(np.linspace(0, 1, model.info.n_layers + 1))
        np.testing.assert_allclose(own["logit_diff"], diff.mean(1), atol=1e-3)
        np.testing.assert_allclose(own["rank"], np.exp(np.log(rank).mean(1)), rtol=1e-3)
        np.testing.assert_allclose(own["other_rank"], np.exp(np.log(other).mean(1)), rtol=1e-3)
        np.testing.assert_allclose(own["top1"], (rank == 1).mean(1))
        assert own["median_rank"].tolist() == np.sort(rank, 1)[:, (rank.shape[1] - 1) // 2].tolist()
        for value in ("logit_diff", "rank", "other_rank", "top1"):
            assert all(
                low - 1e-9 <= x <= high + 1e-9 for x, (low, high) in zip(own[value], own[f"{value}_ci95"], strict=True)
            )


def test_intervals_resample_prompts(pair, study):
    """Those of the student's last block, against a loop over the same draws."""
    _, rank, _ = raw_lens(pair.student_model, pair.batches[1])
    draws = [np.exp(draw @ np.log(rank[0])) for block in pair.teacher.weights().blocks() for draw in block.numpy()]
    stages = study.frame("stages")
    found = stages[stages["model"] == "student"].iloc[0]["rank_ci95"]
    np.testing.assert_allclose(found, np.quantile(draws, [0.025, 0.975]), rtol=1e-3)


def test_every_number_of_a_figure_is_in_the_table(study):
    stages = study.frame("stages")
    for key, column in (("logit-diff", "logit_diff"), ("rank", "rank"), ("top", "top1")):
        for series, who, value in zip(
            study.figures[key].series, ("teacher", "student") * 2, (column,) * 2 + ("other_rank",) * 2, strict=False
        ):
            own = stages[stages["model"] == who]
            assert list(series.x) == own["depth"].tolist() and list(series.y) == own[value].tolist()
            assert list(zip(series.low, series.high, strict=True)) == own[f"{value}_ci95"].tolist()
    assert study.figures["rank"].log_y and len(study.figures["rank"].series) == 4


def test_post_norm_models_are_named(pair, study):
    told = [notice for notice in study.notices if "post-LN" in notice and "not linear" in notice]
    assert len(told) == (0 if pair.teacher_model.is_causal else 2)
    assert all(name in " ".join(told) for name in (("toy-bert", "toy-distilbert") if told else ()))


def test_arrivals_hold_to_the_end(study):
    stages = study.frame("stages")
    for _, row in study.frame("arrivals").iterrows():
        own = stages[stages["model"] == row["model"]].reset_index(drop=True)
        assert row["final"] == own["logit_diff"].iloc[-1]
        for name, holds in (
            ("clear", [low > 0 for low, _ in own["logit_diff_ci95"]]),
            ("half", (own["logit_diff"] >= row["final"] / 2).tolist()),
            ("ahead", [a[1] < b[0] for a, b in zip(own["rank_ci95"], own["other_rank_ci95"], strict=True)]),
        ):
            if isinstance(row[name], str):
                at = own["stage"].tolist().index(row[name])
                assert all(holds[at:]) and (at == 0 or not holds[at - 1])
                assert row[f"{name}_depth"] == own["depth"][at]
            else:
                assert not holds[-1] or (name == "half" and row["final"] <= 0)


def test_from_where_on_by_hand():
    assert _from([False, True, False, True, True]) == 3
    assert _from([True, True]) == 0
    assert _from([True, False]) is None


def test_without_intervals_nothing_is_called_clear():
    study = run_study("logit-lens", [make_pair(n_prompts=6, task="numerals", bootstrap=0)])
    arrivals = study.frame("arrivals")
    assert arrivals["clear"].isna().all() and arrivals["ahead"].isna().all() and arrivals["half"].notna().all()
    assert not any("clearly" in finding for finding in study.findings)
    assert study.figures["logit-diff"].series[0].low is None
