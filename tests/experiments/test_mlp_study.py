"""MLP cosines against plain loops over captured outputs."""

import pytest
import torch
from study_pairs import make_pair

from circuitkit.experiments.experiment import run_study
from circuitkit.experiments.mlp_cosines import mlp_cosines, partners
from circuitkit.experiments.pair import measure_pair
from circuitkit.models.loading import load_model


@pytest.fixture(scope="module", params=[("toy-gpt2", "toy-distilgpt2"), ("toy-bert", "toy-distilbert")])
def pair(request):
    return make_pair(*request.param, n_prompts=40)


def outputs(model, batch, row):
    n = int(batch.clean.mask[row].sum())
    ids = batch.clean.ids[row : row + 1, :n]
    found = model.capture(ids, torch.ones_like(ids, dtype=torch.bool), ["mlp_out"])["mlp_out"]
    return [found[layer][0].double() for layer in sorted(found)]


def test_cosines_prompt_by_prompt(pair):
    models = pair.teacher_model, pair.student_model
    found = mlp_cosines(models, pair.batches, pair.shared, batch_size=7)
    partner = partners(pair.shared)
    cosine = torch.nn.functional.cosine_similarity
    swapped = 0
    for row in range(len(partner)):
        t, s = (outputs(m, b, row) for m, b in zip(models, pair.batches, strict=True))
        for i, one in enumerate(t):
            for j, other in enumerate(s):
                each = cosine(one, other, dim=-1)
                got = [float(getattr(found, name)[row, i, j]) for name in ("every", "first", "other")]
                assert got == pytest.approx([float(each.mean()), float(each[0]), float(each[1:].mean())], abs=1e-4)
        if partner[row] >= 0:
            swapped += 1
            mine, theirs = (pair.batches[0].pairs[int(i)] for i in (row, partner[row]))
            assert mine.template == theirs.template
            assert row != int(partner[row])
            each = cosine(t[0], outputs(models[1], pair.batches[1], int(partner[row]))[0], dim=-1)
            assert float(found.mismatched[row, 0, 0]) == pytest.approx(float(each.mean()), abs=1e-4)
        else:
            assert bool(found.mismatched[row].isnan().all())
    assert swapped >= 2


def test_a_model_with_itself_is_1_and_above_mismatched_prompts():
    pair = make_pair("toy-gpt2", "toy-gpt2", n_prompts=64)
    study = run_study("mlp", [pair])
    matches = study.frame("matches")
    assert list(matches["teacher"]) == list(matches["student"])
    assert matches["every"].tolist() == pytest.approx([1.0] * 4)
    assert (matches["mismatched"] < 1 - 1e-3).all()
    assert (matches["gap"] > 0).all()


def test_the_matrix_is_that_of_the_alignment(pair):
    study = run_study("mlp", [pair])
    table = study.frame("mlps")
    matrix = pair.similarity().mlps
    assert table["similarity"].tolist() == matrix.flatten().tolist()
    assert study.figures["similarity"].values == tuple(tuple(row) for row in matrix.tolist())
    assert table["best"].sum() == len(matrix)


def test_models_of_two_widths_have_no_cosines(tiny_models, wide_dir):
    from study_pairs import load_task

    models = tiny_models["gpt2"], load_model(wide_dir, device="cpu")
    pair = measure_pair(*models, load_task("ioi"), n_prompts=6, bootstrap=0)
    study = run_study("mlp", [pair])
    assert study.frame("mlps")["every"].isna().all()
    assert any("no cosines" in notice for notice in study.notices)
    assert set(study.figures) == {"similarity"}
