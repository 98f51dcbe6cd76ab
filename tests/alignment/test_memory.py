"""What is worked out of the stored matrix [component, prompt] takes no memory of the size of draws times prompts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from synthetic import make_influence, random_influence, random_similarity, settings

from circuitkit.alignment.robustness import measure_robustness
from circuitkit.alignment.scores import match_influences, score_matching
from circuitkit.core.bootstrap import BLOCK_BYTES

MANY, DRAWS = 20_000, 200


def largest_allocation(work: Callable[[], Any]) -> int:
    """Bytes of the largest single allocation that torch makes."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    return max(event.self_cpu_memory_usage for event in profile.events())


@pytest.fixture(scope="module")
def influences():
    teacher, student = (random_influence(seed, n_prompts=MANY, n_draws=DRAWS) for seed in (3, 4))
    return teacher, make_influence(student.clean, student.ablated, n_params=600, n_draws=DRAWS)


def test_figures_of_one_model(influences):
    assert largest_allocation(influences[0].to_dict) <= BLOCK_BYTES


def test_scores(influences):
    similarity = random_similarity(0)
    matching = match_influences(similarity, *influences, settings())
    found = []
    work = largest_allocation(
        lambda: found.append(score_matching(matching, similarity, *influences, settings=settings()))
    )
    assert found[0].ci95 is not None
    assert work <= BLOCK_BYTES + 8 * 5000 * len(influences[0].components)  # the shuffles do not depend on prompts


def test_robustness(influences):
    weights = influences[0].weights()
    assert largest_allocation(lambda: measure_robustness(*influences, weights=weights)) <= BLOCK_BYTES
