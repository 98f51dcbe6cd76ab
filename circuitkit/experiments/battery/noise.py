"""Weight noise in steps."""

import copy

import torch
from transformers import PreTrainedModel

from circuitkit.core.errors import ModelError, OptionError
from circuitkit.experiments.battery.exact import Made, same_components


@torch.no_grad()
def noisy(model: PreTrainedModel, *, level: float, seed: int) -> Made:
    """Gaussian noise on every weight, of `level` times the standard deviation of the tensor that it stands in.

    One seed gives one direction: levels differ in its length only. Tied weights get noise once; tensors whose
    entries are all equal (fresh gains and biases) get none.

    Raises:
        OptionError: The level is negative or not finite.
    """
    if not 0 <= level < float("inf"):
        raise OptionError(f"Noise of {level} standard deviations asked for; wanted a number from 0 on.")
    raw, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    for weight in raw.parameters():
        noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        weight.add_(level * weight.std(correction=0) * noise)
    return Made(raw=raw, relation=same_components(model))


@torch.no_grad()
def weight_distance(one: PreTrainedModel, other: PreTrainedModel) -> float:
    """Length of the difference of all weights over the length of the first model's weights.

    Raises:
        ModelError: The models have different parameters.
    """
    mine, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    if {n: p.shape for n, p in mine.items()} != {n: p.shape for n, p in theirs.items()}:
        raise ModelError("Two models of different parameters have no distance of weights; wanted one shape.")
    apart = sum((theirs[name] - weight).double().square().sum().item() for name, weight in mine.items())
    return (apart / sum(weight.double().square().sum().item() for weight in mine.values())) ** 0.5
