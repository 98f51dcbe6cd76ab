"""Attention to a role's places against loops over a raw Hugging Face model."""

import pytest
import torch

from circuitkit.models.loading import load_model
from circuitkit.roles.attention_to import attention_scores, role_attention
from circuitkit.roles.places import duplicate_token, previous_token, readable
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task


@pytest.mark.parametrize("name", ["toy-gpt2", "toy-bert", "toy-distilbert", "toy-llama"])
def test_scores_are_those_of_loops_over_the_raw_model(name):
    model = load_model(name)
    batch = build_batch(load_task("ioi"), model, n_prompts=6)
    found = {"previous": previous_token(model, batch, "corrupted"), "same": duplicate_token(model, batch, "corrupted")}
    measured = role_attention(model, batch, found, side="corrupted")
    raw = model.eager_clone()
    could = readable(model, batch.corrupted)
    with torch.no_grad():
        for row in range(6):
            length = int(batch.corrupted.mask[row].sum())
            patterns = raw(batch.corrupted.ids[row : row + 1, :length], output_attentions=True).attentions
            for role, where in found.items():
                queries = where.queries[row].nonzero()[:, 0].tolist()
                for layer, pattern in enumerate(patterns):
                    for head in range(4):
                        mass, chance = 0.0, 0.0
                        for query in queries:
                            keys = where.keys[row, query].nonzero()[:, 0].tolist()
                            rest = could[row, query].nonzero()[:, 0].tolist()
                            mass += sum(float(pattern[0, head, query, key]) for key in keys) / len(queries)
                            share = len(keys) / len(rest)
                            chance += share * sum(float(pattern[0, head, query, key]) for key in rest) / len(queries)
                        assert float(measured[role].mass[4 * layer + head, row]) == pytest.approx(mass, abs=1e-5)
                        assert float(measured[role].chance[4 * layer + head, row]) == pytest.approx(chance, abs=1e-5)
    alone = attention_scores(model, batch, found["same"], side="corrupted")
    assert torch.allclose(alone, measured["same"].mass)
