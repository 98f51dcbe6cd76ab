"""Influences, similarities and matchings made of plain numbers, with no model behind them."""

import torch
from torch import Tensor

from circuitkit.alignment.matching import Matching
from circuitkit.alignment.settings import AlignSettings
from circuitkit.alignment.similarity.types import Similarity
from circuitkit.core.component import Component, all_components
from circuitkit.discovery.influence import Influence
from circuitkit.interventions.ablation import Ablation
from circuitkit.models.info import ModelInfo


def info(name: str = "made-up", **changes) -> ModelInfo:
    sizes = {
        "n_layers": 2,
        "n_heads": 3,
        "n_kv_heads": 3,
        "d_model": 12,
        "d_head": 4,
        "d_mlp": 48,
        "n_params": 1000,
        "max_length": 64,
        "vocab_size": 50,
    }
    rest = {"family": "gpt2", "weights_sha256": name, "revision": None}
    return ModelInfo(name=name, **(sizes | rest | changes))


def make_influence(
    clean: Tensor,
    ablated: Tensor,
    *,
    n_layers: int = 2,
    n_heads: int = 3,
    n_draws: int = 0,
    components: tuple[Component, ...] | None = None,
    **model,
) -> Influence:
    """An influence of given per-prompt logit differences."""
    return Influence(
        model=info(n_layers=n_layers, n_heads=n_heads, **model),
        task={"name": "none"},
        components=components or all_components(n_layers, n_heads),
        clean=clean,
        ablated=ablated,
        normalize="max",
        sign="clamp",
        n_draws=n_draws,
        settings={"seed": 0},
        made_with={},
        notices=(),
    )


def random_influence(seed: int, *, n_prompts: int = 40, n_draws: int = 0, n_layers: int = 2) -> Influence:
    generator = torch.Generator().manual_seed(seed)
    clean = 5 + torch.randn(n_prompts, generator=generator)
    effect = torch.randn(4 * n_layers, 1, generator=generator) + torch.randn(
        4 * n_layers, n_prompts, generator=generator
    )
    return make_influence(clean, clean - effect, n_layers=n_layers, n_draws=n_draws)


def make_similarity(heads: Tensor, mlps: Tensor) -> Similarity:
    return Similarity(heads=heads.double(), mlps=mlps.double(), method_heads="output", method_mlps="eigenvectors")


def random_similarity(seed: int, *, teacher: tuple[int, int] = (6, 2), student: tuple[int, int] = (6, 2)) -> Similarity:
    """`teacher` and `student` hold numbers of heads and of MLPs."""
    generator = torch.Generator().manual_seed(seed)
    heads = 2 * torch.rand(teacher[0], student[0], generator=generator) - 1
    return make_similarity(heads, torch.rand(teacher[1], student[1], generator=generator))


def one_to_one(similarity: list[float]) -> Matching:
    """Component i of the teacher with component i of the student."""
    n = len(similarity)
    return Matching(
        teacher=torch.arange(n),
        student=torch.arange(n),
        similarity=torch.tensor(similarity, dtype=torch.float64),
        weight=torch.ones(n, dtype=torch.float64),
        unmatched_teacher=(),
        unmatched_student=(),
    )


def settings(**changes) -> AlignSettings:
    plain = {
        "n_prompts": 16,
        "ablation": Ablation.CORRUPTED_MEAN,
        "method": "exact",
        "similarity": "auto",
        "matching": "greedy",
        "normalize": "max",
        "influence_sign": "clamp",
        "direction": "teacher",
        "top_k": None,
        "bootstrap": 0,
        "null": "none",
        "controls": False,
        "seed": 0,
    }
    return AlignSettings(**(plain | changes))
