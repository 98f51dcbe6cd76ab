"""How much of the model's logit difference a circuit must keep."""

from jaxtyping import Float
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.discovery.baseline import Baseline, measure_baseline
from circuitkit.interventions.circuit_runner import CircuitRunner


def least_logit_diff(runner: CircuitRunner, threshold: float, *, option: str) -> float:
    """The mean logit difference that a circuit must keep: the model's, less a share of it.

    Args:
        runner: The model and the prompts; it must measure `logit_diff`.
        threshold: Share of the model's logit difference that may be lost.
        option: What the user calls the threshold.

    Returns:
        The floor, in logits.

    Raises:
        OptionError: The threshold is not between 0 and 1, or the model does not clearly do the task, so that a
            share of its logit difference means nothing.
    """
    if not 0 < threshold < 1:
        raise OptionError(f"{option} {threshold:g} is not a share of the logit difference; give one between 0 and 1.")
    if "logit_diff" not in runner.clean:
        raise OptionError(f"A circuit must keep logit difference; measured was {', '.join(runner.clean)}.")
    found = check_able(runner.clean["logit_diff"], model=runner.model.info.name, task=runner.batch.task.name)
    return (1 - threshold) * found.mean


def check_able(clean: Float[Tensor, " prompt"], *, model: str, task: str) -> Baseline:
    """The logit difference that a model's circuits are held against.

    Args:
        clean: Logit difference per prompt.
        model: Name of the model.
        task: Name of the task.

    Raises:
        OptionError: It is not clearly above 0.
    """
    found = measure_baseline(clean, None)
    if not found.clear:
        why = "one prompt has no standard error" if found.n_prompts == 1 else "that is not clearly above 0"
        raise OptionError(
            f"Circuits keep a share of the mean logit difference; that of {model!r} on {task} is {found.mean:.2f}, "
            f"and {why}. Give a task that it does, or more --n-prompts."
        )
    return found
