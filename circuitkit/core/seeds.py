"""Which seeds there are; free of torch, so that the command line can check one at once."""

from circuitkit.core.errors import OptionError

MAX_SEED = 2**32 - 6  # torch reads the low 32 bits on the CPU; random students use this one and the next four


def check_seed(seed: int) -> int:
    """The seed as it is.

    Raises:
        OptionError: It is negative or too large.
    """
    if not 0 <= seed <= MAX_SEED:
        raise OptionError(f"Seed {str(seed)[:40]} is out of range; give a whole number from 0 to {MAX_SEED}.")
    return seed
