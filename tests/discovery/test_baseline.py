"""What is said of a model whose logit difference is not clearly above 0."""

import pytest
import torch

from circuitkit.discovery.baseline import measure_baseline


def test_one_prompt_shows_nothing():
    found = measure_baseline(torch.tensor([6.0]), None)
    assert (found.mean, found.accuracy, found.clear) == (6, 1, False)
    assert found.warning("Teacher t").startswith("One prompt cannot show whether Teacher t does this task")
    assert "intervals are not given" in found.warning("Teacher t")


@pytest.mark.parametrize("clean", [[-1.0, -1.2], [1.0, -1.0, 0.4]])
def test_noise_is_named(clean):
    assert measure_baseline(torch.tensor(clean), None).warning("Student s").startswith("Student s does not do this")


def test_a_clear_difference_needs_no_warning():
    assert measure_baseline(torch.tensor([3.0, 3.1, 2.9]), None).warning("t") is None
