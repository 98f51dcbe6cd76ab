"""Laws that need a model which has learned something: the embedded ones."""

import copy

import pytest
import torch
from scipy.stats import spearmanr

from circuitkit.alignment.align import align
from circuitkit.discovery.influence import influence
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import load_model
from circuitkit.tasks.loading import load_task

NOISE = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)


def changed(model: HookedModel, change) -> HookedModel:
    """The model with its raw module copied and changed."""
    raw = copy.deepcopy(model.raw)
    with torch.no_grad():
        change(raw)
    return HookedModel(raw=raw, tokenizer=model.tokenizer, family=model.family, name=f"{model.info.name} (changed)")


@pytest.mark.parametrize("name", ["toy-gpt2", "toy-bert", "toy-llama"])
def test_alignment_falls_as_noise_grows(name):
    """Weights of a copy of the teacher get noise, in units of each parameter's own spread."""
    teacher, task = load_model(name, device="cpu"), load_task("ioi")
    generator = torch.Generator().manual_seed(0)
    drawn = {key: torch.randn(p.shape, generator=generator) for key, p in teacher.raw.named_parameters()}

    def score(level: float) -> float:
        def add(raw):
            for key, parameter in raw.named_parameters():
                parameter.add_(level * parameter.std() * drawn[key])

        student = changed(teacher, add)
        return align(
            teacher, student, task, n_prompts=32, bootstrap=0, null="none", controls=False, fingerprint=False
        ).score

    scores = [score(level) for level in NOISE]
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert spearmanr(NOISE, scores).statistic < -0.9


@pytest.mark.parametrize("name", ["toy-gpt2", "toy-llama"])
def test_influence_has_no_unit_and_no_origin(name):
    """A constant on all logits changes nothing; a scaled unembedding scales drops and leaves influence."""
    model, task = load_model(name, device="cpu"), load_task("numerals")

    def untie_and(change):
        def apply(raw):
            raw.lm_head = copy.deepcopy(raw.lm_head)
            raw.lm_head.weight = torch.nn.Parameter(raw.lm_head.weight.clone())
            change(raw)

        return changed(model, apply)

    def shift(raw):
        raw.lm_head.bias = torch.nn.Parameter(torch.full((raw.lm_head.weight.shape[0],), 7.5))

    def scale(raw):
        raw.lm_head.weight.mul_(3)

    base = influence(model, task, n_prompts=32, bootstrap=0)
    shifted = influence(untie_and(shift), task, n_prompts=32, bootstrap=0)
    torch.testing.assert_close(shifted.drops, base.drops, atol=1e-4, rtol=0)
    scaled = influence(untie_and(scale), task, n_prompts=32, bootstrap=0)
    torch.testing.assert_close(scaled.drops, 3 * base.drops, atol=1e-3, rtol=0)
    torch.testing.assert_close(scaled.values, base.values, atol=1e-4, rtol=0)
