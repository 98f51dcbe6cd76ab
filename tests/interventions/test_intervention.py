"""What cannot be an intervention is refused in one line."""

import pytest
import torch

from circuitkit.core.component import Component, all_components
from circuitkit.core.errors import OptionError
from circuitkit.interventions.intervention import Intervention, at_each_position, check_fit, replace_components

HEAD = Component(1, 0)


def test_an_intervention_replaces_something():
    for make in (lambda: Intervention(edits={}), replace_components):
        with pytest.raises(OptionError, match="replaces nothing"):
            make()


@pytest.mark.parametrize(
    ("where", "got"),
    [
        (torch.ones(4, 1), r"torch.float32 \[4, 1\]"),
        (torch.ones(4, dtype=torch.bool), r"torch.bool \[4\]"),
        (torch.ones(4, 1, dtype=torch.bool).numpy(), "ndarray"),
    ],
)
def test_places_are_boolean_tensors_of_prompts_and_positions(where, got):
    with pytest.raises(OptionError, match=f"Where L1H0 is replaced is given as {got}; give a boolean"):
        Intervention.__post_init__(_unchecked(where))


def _unchecked(where):
    """An intervention as it is before it is looked at; the types that tests check would refuse it first."""
    bare = object.__new__(Intervention)
    object.__setattr__(bare, "edits", {HEAD: where})
    return bare


@pytest.mark.parametrize("shape", [(1, 1), (8, 1), (1, 12), (8, 12), (8, 15)])
def test_masks_that_fit(shape):
    unit = replace_components(HEAD, where=torch.ones(shape, dtype=torch.bool))
    check_fit([unit, *at_each_position([HEAD], 12)], all_components(2, 4), n_prompts=8, length=12)


@pytest.mark.parametrize("shape", [(7, 1), (9, 12), (8, 11), (1, 2), (0, 1), (1, 0)])
def test_masks_that_do_not(shape):
    unit = replace_components(HEAD, where=torch.ones(shape, dtype=torch.bool))
    with pytest.raises(OptionError, match=r"these prompts take \[8 or 1, 12 or 1\]"):
        check_fit([unit], all_components(2, 4), n_prompts=8, length=12)


@pytest.mark.parametrize("component", [Component(2), Component(0, 4), Component(1, -1), Component(-1)])
def test_components_that_the_model_does_not_have(component):
    with pytest.raises(OptionError, match="is not in the model, which has 10 components, the last of them MLP1"):
        check_fit([replace_components(component)], all_components(2, 4), n_prompts=8, length=12)
