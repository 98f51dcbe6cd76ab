"""Similarities against hand-placed hooks on the raw modules, stacked and compared with numpy."""

import numpy as np
import pytest
import torch
from brute_force import token_batch
from raw_similarity import (
    cka,
    components,
    cosine,
    eigenvector_cosine,
    flat_mean,
    group_members,
    mlp_by_prompt,
    pattern_cosine,
    patterns_by_prompt,
    writes_by_prompt,
    z_by_prompt,
)
from synthetic import info
from tiny_models import build_raw

from circuitkit.alignment import stream
from circuitkit.alignment.covariance import CovarianceSum
from circuitkit.alignment.similarity.measure import choose_methods, measure_similarity
from circuitkit.alignment.summary import leading_eigenvectors
from circuitkit.core.errors import OptionError
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import wrap_model

LENGTHS = {"one length": [[7] * 4], "padded groups": [[6, 6, 9], [7, 7, 7, 11, 11]]}


def other(model: HookedModel, n_layers: int = 2) -> HookedModel:
    """Another random model of the same family."""
    raw = build_raw(model.info.family, vocab_size=model.info.vocab_size, n_layers=n_layers, seed=5)
    return wrap_model(raw, model.tokenizer, name="other")


def by_hand(values: list[list], compare) -> np.ndarray:
    return np.array([[compare(t, s) for s in values[1]] for t in values[0]])


def close(found: torch.Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize(("option", "read"), [("output", writes_by_prompt), ("z", z_by_prompt)])
def test_means_of_heads(tiny_model, lengths, option, read):
    models, batch = (tiny_model, other(tiny_model)), token_batch(tiny_model.info.vocab_size, lengths)
    found = measure_similarity(models, (batch, batch), option=option, batch_size=3)
    groups = group_members(batch)
    flat = [[flat_mean(read(m, batch, head), groups) for head in components(m.raw)[0]] for m in models]
    close(found.heads, by_hand(flat, cosine))
    assert (found.method_heads, found.method_mlps) == (option, "eigenvectors")


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_patterns(tiny_model, lengths):
    models, batch = (tiny_model, other(tiny_model)), token_batch(tiny_model.info.vocab_size, lengths)
    found = measure_similarity(models, (batch, batch), option="pattern", batch_size=3)
    close(found.heads, pattern_cosine(*(patterns_by_prompt(m, batch) for m in models), group_members(batch)))


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_eigenvectors_of_mlps(tiny_model, lengths):
    models, batch = (tiny_model, other(tiny_model)), token_batch(tiny_model.info.vocab_size, lengths)
    found = measure_similarity(models, (batch, batch), option="auto", batch_size=3)
    stacked = [[np.concatenate(mlp_by_prompt(m, batch, c)) for c in components(m.raw)[1]] for m in models]
    close(found.mlps, by_hand(stacked, eigenvector_cosine))


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_cka(tiny_model, lengths):
    models, batch = (tiny_model, other(tiny_model)), token_batch(tiny_model.info.vocab_size, lengths)
    found = measure_similarity(models, (batch, batch), option="cka", batch_size=3)
    for kind, (matrix, read) in enumerate(((found.heads, writes_by_prompt), (found.mlps, mlp_by_prompt))):
        stacked = [[np.concatenate(read(m, batch, c)) for c in components(m.raw)[kind]] for m in models]
        close(matrix, by_hand(stacked, cka))


def test_prompts_that_cannot_be_grouped(tiny_model):
    """Means over all units of all prompts; attention rows by their place, over the prompts that have it."""
    models = (tiny_model, other(tiny_model))
    batch = token_batch(tiny_model.info.vocab_size, [[5, 8, 6, 11]], positional=False)
    found = measure_similarity(models, (batch, batch), option="output")
    flat = [[np.concatenate(writes_by_prompt(m, batch, h)).mean(0) for h in components(m.raw)[0]] for m in models]
    close(found.heads, by_hand(flat, cosine))

    found = measure_similarity(models, (batch, batch), option="pattern")
    patterns = [patterns_by_prompt(m, batch) for m in models]
    total, rows = np.zeros(found.heads.shape), 0
    for query in range(11):
        having = [i for i in range(4) if patterns[0][i].shape[1] > query]
        means = []
        for side in patterns:
            padded = [np.pad(side[i][:, query], ((0, 0), (0, 11 - side[i].shape[2]))) for i in having]
            means.append(np.mean(padded, axis=0))
        total += len(having) * by_hand(means, cosine)
        rows += len(having)
    close(found.heads, total / rows)


def test_memory_limits_do_not_change_the_numbers(tiny_models, monkeypatch):
    """Layers taken a few at a time, prompts one at a time."""
    model = tiny_models["llama"]
    models, batch = (model, other(model)), token_batch(model.info.vocab_size, [[6, 6, 9]])
    for option in ("output", "cka"):
        whole = measure_similarity(models, (batch, batch), option=option)
        for accumulator in (1, 20000):
            with monkeypatch.context() as patch:
                patch.setattr(stream, "ACCUMULATOR_BYTES", accumulator)
                patch.setattr(stream, "ACTIVATION_BYTES", 1)
                cut = measure_similarity(models, (batch, batch), option=option)
            torch.testing.assert_close(cut.heads, whole.heads, atol=1e-6, rtol=0)
            torch.testing.assert_close(cut.mlps, whole.mlps, atol=1e-6, rtol=0)


def test_progress_ends_at_its_total(tiny_models):
    model, last = tiny_models["gpt2"], {}
    batch = token_batch(model.info.vocab_size, [[6, 6, 9]])
    for option in ("output", "cka"):
        measure_similarity(
            (model, model),
            (batch, batch),
            option=option,
            progress=lambda stage, done, total: last.__setitem__(stage, (done, total)),
        )
    assert set(last) == {"teacher activations", "student activations", "head similarity", "mlp similarity"}
    assert all(done == total for done, total in last.values())


def test_cka_invariances():
    """To rotations and scale of either side and to a shift; different widths; against the Gram matrices."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(50, w, generator=generator, dtype=torch.float64) for w in (6, 9))
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q

    def through_sums(a, b):
        squares = []
        for one, two in ((a, b), (a, a), (b, b)):
            total = CovarianceSum(1, one.shape[1], two.shape[1], torch.device("cpu"))
            for rows in (slice(0, 20), slice(20, 50)):
                total.add(one[None, rows], two[None, rows])
            squares.append(float(total.covariance(0).square().sum()))
        return squares[0] / (squares[1] * squares[2]) ** 0.5

    expected = cka(x.numpy(), y.numpy())
    for changed in (x, 3 * x, x @ rotation, x + 7):
        assert through_sums(changed, y) == pytest.approx(expected, abs=1e-9)
    assert through_sums(x, x @ rotation) == pytest.approx(1)


def test_a_constant_output_has_no_covariance():
    total = CovarianceSum(1, 3, 3, torch.device("cpu"))
    constant = torch.tensor([0.1, 1e3, -7.7], dtype=torch.float64).expand(1, 33, 3)
    total.add(constant, constant)
    assert not total.covariance(0).any()
    assert not leading_eigenvectors(total.covariance(0)).any()


def test_directions_without_variance_are_zeros():
    axes = leading_eigenvectors(torch.diag(torch.tensor([0.0, 4.0, 1.0, 0.0], dtype=torch.float64)))
    torch.testing.assert_close(
        axes.abs(), torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.float64)
    )


def test_auto_and_refusals():
    narrow, wide = info("narrow"), info("wide", d_model=24, d_head=8)
    assert choose_methods("auto", narrow, narrow) == ("output", "eigenvectors", ())
    assert choose_methods("cka", narrow, narrow) == ("cka", "cka", ())
    heads, mlps, notices = choose_methods("auto", narrow, wide)
    assert (heads, mlps) == ("pattern", "cka")
    assert "compared by attention pattern, MLPs by CKA" in notices[0]
    assert choose_methods("pattern", narrow, wide)[:2] == ("pattern", "cka")
    assert choose_methods("cka", narrow, wide) == ("cka", "cka", ())
    for option in ("output", "z"):
        with pytest.raises(OptionError, match=r"d_model 12 against 24.*pattern, cka"):
            choose_methods(option, narrow, wide)
    with pytest.raises(OptionError, match=r"d_head 4 against 6.*output, pattern or cka"):
        choose_methods("z", narrow, info("other heads", n_heads=2, d_head=6))


def test_unequal_widths(tiny_models, tiny_tokenizers):
    """GPT-2 against a Llama half as wide, by what remains defined."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=tiny_models["gpt2"].info.vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    models = (
        tiny_models["gpt2"],
        wrap_model(LlamaForCausalLM(config).eval(), tiny_tokenizers["gpt2"], name="n"),
    )
    batch = token_batch(models[0].info.vocab_size, [[6, 6, 9], [7, 7]])
    found = measure_similarity(models, (batch, batch), option="auto")
    close(found.heads, pattern_cosine(*(patterns_by_prompt(m, batch) for m in models), group_members(batch)))
    stacked = [[np.concatenate(mlp_by_prompt(m, batch, c)) for c in components(m.raw)[1]] for m in models]
    close(found.mlps, by_hand(stacked, cka))
    heads = [[np.concatenate(writes_by_prompt(m, batch, c)) for c in components(m.raw)[0]] for m in models]
    close(measure_similarity(models, (batch, batch), option="cka").heads, by_hand(heads, cka))
