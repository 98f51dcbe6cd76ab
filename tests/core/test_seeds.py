"""Seeds that are let through differ in what torch makes of them."""

import torch

from circuitkit.core.seeds import MAX_SEED


def test_no_two_seeds_are_the_same_to_torch():
    """torch's CPU generator reads 32 bits: a seed beyond them would repeat the draws of another."""

    def drawn(seed: int) -> torch.Tensor:
        return torch.randn(4, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(0), drawn(2**32))
    last = MAX_SEED + 4  # of the random students
    assert last < 2**32
    assert not any(torch.equal(drawn(last), drawn(seed)) for seed in (0, 1, MAX_SEED, last // 2))
