"""PCA and similarity of MLP outputs against plain linear algebra on what hooks read."""

import json
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
from circuitkit.probes.pca import mlp_outputs, mlp_pca, pca_of_outputs, principal_directions

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


def test_outputs_are_those_of_the_raw_modules(tiny_model):
    """Every block in one run, prompt by prompt without padding, in all four families."""
    batch = labelled(tiny_model, LENGTHS)
    layers = range(tiny_model.info.n_layers)
    for label, at in (("B", batch.label_positions["B"]), ("END", batch.clean.answer_pos)):
        found = mlp_outputs(tiny_model, batch, layers=layers, label=label, batch_size=2)
        for layer in layers:
            value = read(tiny_model.raw, tiny_model.info.family, Component(layer), batch.clean)
            torch.testing.assert_close(found[layer], value[torch.arange(len(value)), at], atol=1e-5, rtol=0)


def test_components_ignore_how_space_is_turned():
    """Turned and moved vectors lie alike along their principal directions, up to the sign, which is fixed."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 6, dtype=torch.float64, generator=generator) * torch.tensor([5.0, 3, 2, 1, 1, 1]).double()
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=generator)).Q
    one, other = principal_directions(x, 3), principal_directions(x @ turn + 9, 3)
    torch.testing.assert_close(other.variance, one.variance)
    torch.testing.assert_close(other.coordinates.abs(), one.coordinates.abs())
    torch.testing.assert_close((one.directions @ turn).abs(), other.directions.abs())
    values, vectors = torch.linalg.eigh(torch.cov(x.T))
    torch.testing.assert_close(one.variance, (values / values.sum()).flip(0)[:3])
    torch.testing.assert_close(one.directions.abs(), vectors.flip(1)[:, :3].T.abs())
    for found in (one, other):
        assert (found.directions.gather(1, found.directions.abs().argmax(1, keepdim=True)) > 0).all()
    assert principal_directions(torch.ones(4, 3), 2).variance.tolist() == [0, 0]


def test_students_are_turned_to_the_teacher():
    """A student that writes the opposite lies on the teacher's side of every axis."""
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    found = pca_of_outputs((x, -x), layers=(0, 1), label="END", answers=tuple("abcdefghijkl"), n_directions=3)
    torch.testing.assert_close(found.student, found.teacher)
    torch.testing.assert_close(found.shared, -found.teacher)
    record = found.to_dict()
    assert record["mlps"] == ["MLP0", "MLP1"] and json.loads(json.dumps(record)) == record
    with pytest.raises(OptionError, match="One prompt does not vary"):
        pca_of_outputs((x[:1], x[:1]), layers=(0, 1), label="END", answers=("a",), n_directions=1)


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
    assert found.to_dict()["values"] == found.values.tolist() and found.to_dict()["student"] == ["MLP0", "MLP1"]


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
