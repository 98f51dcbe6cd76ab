"""Pairs and influences for tests of the studies."""

import json
from pathlib import Path

import torch

from circuitkit.core.component import all_components
from circuitkit.discovery.influence import Influence
from circuitkit.experiments.pair import PairMeasurements, measure_pair
from circuitkit.models.info import ModelInfo
from circuitkit.models.loading import load_model
from circuitkit.tasks.loading import load_task

VALUES = json.loads((Path(__file__).parents[1] / "data" / "notebook_values.json").read_text())
LAYERS = {"gpt2": 12, "distilgpt2": 6}
N_PARAMS = {"gpt2": 1000, "distilgpt2": 661}


def make_pair(teacher="toy-gpt2", student="toy-distilgpt2", task="ioi", **options) -> PairMeasurements:
    models = [load_model(name, device="cpu") for name in (teacher, student)]
    return measure_pair(*models, load_task(task), **({"n_prompts": 24, "bootstrap": 50} | options))


def printed_influence(model: str) -> Influence:
    """Percentages that the notebooks print, as if every prompt had them."""
    printed = VALUES["table2"][model]["retained_pct"]
    components = all_components(LAYERS[model], 12)
    retained = torch.tensor([printed[str(c)] for c in components], dtype=torch.float64)
    clean = torch.tensor([3.0, 5.0, 4.0])
    return Influence(
        model=ModelInfo(
            name=model,
            family="gpt2",
            n_layers=LAYERS[model],
            n_heads=12,
            n_kv_heads=12,
            d_model=768,
            d_head=64,
            d_mlp=3072,
            n_params=N_PARAMS[model],
            max_length=1024,
            vocab_size=50257,
            weights_sha256=model,
            revision=None,
        ),
        task={"name": "numerals"},
        components=components,
        clean=clean,
        ablated=(retained[:, None] / 100 * clean).float(),
        normalize="max",
        sign="clamp",
        n_draws=50,
        settings={"seed": 0},
        made_with={},
        notices=(),
    )
