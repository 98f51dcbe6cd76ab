"""PCA and similarity of MLP outputs against plain linear algebra on what hooks read."""

from dataclasses import replace

import pytest
import torch
from brute_force import read
from tiny_models import build_raw
from tiny_tasks import labelled

from circuitkit.alignment.similarity.measure import measure_similarity
from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.models.loading import wrap_model
from circuitkit.probes.mlp_similarity import mlp_similarity
from circuitkit.probes.pca import mlp_pca

LENGTHS = ((5, 5, 5), (8, 7, 6))


@pytest.fixture(scope="module")
def pair(tiny_models):
    """The tiny GPT-2 and another of its width and tokenizer."""
    model = tiny_models["gpt2"]
    other = build_raw("gpt2", vocab_size=model.info.vocab_size, n_layers=2, seed=3)
    return model, wrap_model(other, model.tokenizer, name="student")


def outputs(model, batch, layer):
    value = read(model.raw, model.info.family, Component(layer), batch.clean).double()
    return value[torch.arange(len(value)), batch.label_positions["B"]]


def test_directions_are_those_of_the_singular_values(pair):
    batch = labelled(pair[0], LENGTHS)
    found = mlp_pca(pair, (batch, batch), (2, 0), label="B", n_directions=2)
    turned = []
    for model, layer, scores, variance in (
        (pair[0], 2, found.teacher, found.teacher_variance),
        (pair[1], 0, found.student, found.student_variance),
    ):
        x = outputs(model, batch, layer)
        _, s, v = torch.linalg.svd(x - x.mean(0), full_matrices=False)
        torch.testing.assert_close(variance.double(), (s**2 / (s**2).sum())[:2], atol=1e-5, rtol=0)
        torch.testing.assert_close(scores.double().abs(), ((x - x.mean(0)) @ v[:2].T).abs(), atol=1e-4, rtol=0)
        turned.append(v[:2])
    torch.testing.assert_close(found.cosines.double(), (turned[0] @ turned[1].T).abs(), atol=1e-5, rtol=0)
    x = outputs(pair[1], batch, 0)
    torch.testing.assert_close(found.shared.double().abs(), ((x - x.mean(0)) @ turned[0].T).abs(), atol=1e-4, rtol=0)


def test_a_model_beside_itself(tiny_model):
    batch = labelled(tiny_model, LENGTHS)
    found = mlp_pca((tiny_model, tiny_model), (batch, batch), (1, 1), n_directions=3)
    torch.testing.assert_close(found.cosines, torch.eye(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.shared, found.teacher, atol=1e-5, rtol=0)


def test_other_widths_share_no_directions(tiny_models):
    model = tiny_models["gpt2"]
    wide = wrap_model(build_raw("gpt2", vocab_size=model.info.vocab_size, d_model=64), model.tokenizer, name="wide")
    batch = labelled(model, LENGTHS)
    found = mlp_pca((model, wide), (batch, batch), (0, 0))
    assert found.shared is None and found.cosines is None
    assert mlp_similarity((model, wide), (batch, batch)).method == "cka"
    with pytest.raises(OptionError, match="d_model 32 against 64"):
        mlp_similarity((model, wide), (batch, batch), method="eigenvectors")


@pytest.mark.parametrize(("method", "option"), [("auto", "auto"), ("cka", "cka")])
def test_similarity_is_that_of_the_alignment(pair, method, option):
    batch = labelled(pair[0], LENGTHS)
    found = mlp_similarity(pair, (batch, batch), method=method)
    whole = measure_similarity(pair, (batch, batch), option=option)
    assert found.method == whole.method_mlps
    torch.testing.assert_close(found.values, whole.mlps)
    assert found.frame().loc["MLP2", "MLP1"] == found.values[2, 1].item()


def test_bad_requests_are_refused(pair):
    batch = labelled(pair[0], LENGTHS)
    for options, message in (
        ({"label": "Z"}, "have no label 'Z'; theirs: B, A, END"),
        ({"n_directions": 7}, "have 1 to 6"),
    ):
        with pytest.raises(OptionError, match=message):
            mlp_pca(pair, (batch, batch), (0, 0), **options)
    with pytest.raises(OptionError, match="Layer 5"):
        mlp_pca(pair, (batch, batch), (5, 0))
    with pytest.raises(OptionError, match="different prompts"):
        mlp_pca(pair, (batch, replace(batch, prompt_index=(9, *batch.prompt_index[1:]))), (0, 0))
    with pytest.raises(OptionError, match="Method 'svd' unknown"):
        mlp_similarity(pair, (batch, batch), method="svd")
