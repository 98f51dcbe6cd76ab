"""The laws that ALIGNMENT states: identity, order of heads, basis inside a head, scale of the logits."""

import copy

import pytest
import torch
from brute_force import token_batch
from synthetic import settings
from torch import nn
from transformers import PreTrainedModel

from circuitkit.alignment.comparison import Comparison
from circuitkit.alignment.score import alignment_score
from circuitkit.core.progress import silent
from circuitkit.models.loading import wrap_model

D_HEAD, N_HEADS = 8, 4
KV_ORDER, HEAD_ORDER = [1, 0], [3, 2, 0, 1]  # under GQA heads 0, 1 read kv head 0: whole groups move


def compare(teacher, student, **options):
    """Influences, similarity, matching and score of two models on random prompts of two templates."""
    batch = token_batch(teacher.info.vocab_size, [[6, 6, 9], [8, 8, 8]])
    job = Comparison(
        settings=settings(**options),
        teacher=teacher,
        batches=(batch, batch),
        batch_size="auto",
        resume=None,
        progress=silent,
    )
    t, s = job.influence(teacher, "teacher"), job.influence(student, "student")
    _, matching = job.match(t, student, s)
    return t, s, matching, float(alignment_score(matching, t.values, s.values))


def reorder(weight: torch.Tensor, order: list[int], dim: int) -> torch.Tensor:
    """Heads lie in runs of 8 along an axis: put them in another order."""
    at = torch.cat([torch.arange(D_HEAD) + D_HEAD * head for head in order])
    return weight.index_select(dim, at)


@torch.no_grad()
def permute_heads(raw: PreTrainedModel, family: str) -> None:
    for block in blocks(raw, family):
        out, dim = projection(block, family)
        out.weight.copy_(reorder(out.weight, HEAD_ORDER, dim))
        if family == "gpt2":
            for parameter in (block.attn.c_attn.weight, block.attn.c_attn.bias):
                parts = parameter.split(N_HEADS * D_HEAD, -1)
                parameter.copy_(torch.cat([reorder(part, HEAD_ORDER, -1) for part in parts], -1))
            continue
        for module, is_kv in inputs(block, family):
            order = KV_ORDER if family == "llama" and is_kv else HEAD_ORDER
            for parameter in module.parameters():
                parameter.copy_(reorder(parameter, order, 0))


@torch.no_grad()
def rotate_heads(raw: PreTrainedModel, family: str) -> None:
    """W_V R and R^T W_O, another R for every value head."""
    n_kv = 2 if family == "llama" else N_HEADS
    generator = torch.Generator().manual_seed(1)
    for block in blocks(raw, family):
        rotations = [torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q for _ in range(n_kv)]
        values = torch.block_diag(*rotations)
        heads = torch.block_diag(*[rotations[head * n_kv // N_HEADS] for head in range(N_HEADS)])
        out, dim = projection(block, family)
        out.weight.copy_(heads.T @ out.weight if dim == 0 else out.weight @ heads)
        if family == "gpt2":
            for parameter in (block.attn.c_attn.weight, block.attn.c_attn.bias):
                parameter[..., -N_HEADS * D_HEAD :] = parameter[..., -N_HEADS * D_HEAD :] @ values
            continue
        for parameter in inputs(block, family)[-1][0].parameters():
            parameter.copy_(values.T @ parameter)


def blocks(raw: PreTrainedModel, family: str) -> nn.ModuleList:
    path = {
        "gpt2": "transformer.h",
        "bert": "bert.encoder.layer",
        "distilbert": "distilbert.transformer.layer",
        "llama": "model.layers",
    }
    return raw.get_submodule(path[family])


def projection(block: nn.Module, family: str) -> tuple[nn.Module, int]:
    """The output projection and the axis of its weight along which heads lie."""
    path = {
        "gpt2": "attn.c_proj",
        "bert": "attention.output.dense",
        "distilbert": "attention.out_lin",
        "llama": "self_attn.o_proj",
    }
    return block.get_submodule(path[family]), 0 if family == "gpt2" else 1


def inputs(block: nn.Module, family: str) -> list[tuple[nn.Module, bool]]:
    """Query, key and value projections, and whether each is made once a kv head."""
    path = {
        "bert": "attention.self.{}",
        "distilbert": "attention.{}_lin",
        "llama": "self_attn.{}_proj",
    }[family]
    names = {
        "bert": ("query", "key", "value"),
        "distilbert": ("q", "k", "v"),
        "llama": ("q", "k", "v"),
    }[family]
    return [
        (block.get_submodule(path.format(name)), is_kv) for name, is_kv in zip(names, (False, True, True), strict=True)
    ]


def changed(model, change):
    raw = copy.deepcopy(model.raw)
    change(raw, model.info.family)
    return wrap_model(raw, model.tokenizer, name="changed")


@pytest.mark.parametrize("matching", ["greedy", "hungarian"])
@pytest.mark.parametrize("similarity", ["output", "z", "pattern"])
def test_a_model_is_aligned_with_itself(tiny_model, similarity, matching):
    _, _, found, score = compare(tiny_model, tiny_model, similarity=similarity, matching=matching)
    assert score == pytest.approx(1, abs=1e-6)
    assert found.teacher.tolist() == found.student.tolist() == list(range(len(tiny_model.components)))


@pytest.mark.parametrize(
    ("similarity", "matching"),
    [("output", "greedy"), ("output", "hungarian"), ("z", "greedy"), ("pattern", "greedy"), ("cka", "greedy")],
)
def test_order_of_heads_does_not_matter(tiny_model, similarity, matching):
    student = changed(tiny_model, permute_heads)
    t, s, found, score = compare(tiny_model, student, similarity=similarity, matching=matching)
    assert score == pytest.approx(1, abs=1e-5)
    for teacher, matched in zip(found.teacher.tolist(), found.student.tolist(), strict=True):
        a, b = t.components[teacher], s.components[matched]
        assert a.layer == b.layer
        assert b.head is None or HEAD_ORDER[b.head] == a.head


def test_order_of_heads_does_not_matter_between_different_models(tiny_models):
    """The same with a student that is not the teacher: the score stays, the matches are renamed."""
    from tiny_models import build_raw

    teacher = tiny_models["llama"]
    raw = build_raw("llama", vocab_size=teacher.info.vocab_size, n_layers=2, seed=4)
    student = wrap_model(raw, teacher.tokenizer, name="student")
    for matching in ("greedy", "hungarian", "soft"):
        *_, plain, score = compare(teacher, student, matching=matching)
        _, s, found, other = compare(teacher, changed(student, permute_heads), matching=matching)
        assert other == pytest.approx(score, abs=1e-5)
        names = []
        for i in found.student.tolist():
            c = s.components[i]
            names.append(i if c.head is None else 4 * c.layer + HEAD_ORDER[c.head])
        renamed = sorted(zip(found.teacher.tolist(), names, strict=True))
        assert renamed == sorted(zip(plain.teacher.tolist(), plain.student.tolist(), strict=True))


@pytest.mark.parametrize("similarity", ["output", "pattern", "cka"])
def test_basis_inside_a_head_does_not_matter(tiny_model, similarity):
    student = changed(tiny_model, rotate_heads)
    _, _, _, score = compare(tiny_model, student, similarity=similarity)
    assert score == pytest.approx(1, abs=1e-5)


def test_basis_inside_a_head_matters_to_z(tiny_model):
    student = changed(tiny_model, rotate_heads)
    _, _, _, score = compare(tiny_model, student, similarity="z")
    assert score < 0.99


@torch.no_grad()
def scale_logits(raw: PreTrainedModel, family: str) -> None:
    unembedding = raw.get_output_embeddings()
    unembedding.weight = nn.Parameter(3 * unembedding.weight)  # no longer tied to the embedding
    if unembedding.bias is not None:
        unembedding.bias = nn.Parameter(3 * unembedding.bias)


@torch.no_grad()
def shift_logits(raw: PreTrainedModel, family: str) -> None:
    unembedding = raw.get_output_embeddings()
    bias = torch.zeros(len(unembedding.weight)) if unembedding.bias is None else unembedding.bias
    unembedding.bias = nn.Parameter(bias + 5)


def test_scale_of_the_logits_does_not_matter(tiny_model):
    t, s, _, score = compare(tiny_model, changed(tiny_model, scale_logits))
    torch.testing.assert_close(s.clean, 3 * t.clean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(s.values, t.values, atol=1e-4, rtol=0)
    assert score == pytest.approx(1, abs=1e-4)


def test_a_constant_added_to_all_logits_does_not_matter(tiny_model):
    t, s, _, score = compare(tiny_model, changed(tiny_model, shift_logits))
    torch.testing.assert_close(s.clean, t.clean, atol=1e-4, rtol=0)
    torch.testing.assert_close(s.values, t.values, atol=1e-4, rtol=0)
    assert score == pytest.approx(1, abs=1e-4)
