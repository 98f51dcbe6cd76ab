"""Models, prompts and runners on which circuits are found; tiny random models made to do their task."""

from dataclasses import replace

import torch
from brute_force import token_batch

from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.models.loading import load_model
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task


def solvable_batch(model, *, seed=0):
    """Random prompts of two templates; of two random answers the right one is that which the model prefers."""
    batch = token_batch(model.info.vocab_size, [[6, 6, 9, 9], [7, 7, 7, 12]], seed=seed)
    wrong = CircuitRunner(model, batch).clean["logit_diff"] < 0
    first, second = batch.correct_ids, batch.incorrect_ids
    return replace(
        batch, correct_ids=torch.where(wrong, second, first), incorrect_ids=torch.where(wrong, first, second)
    )


def toy_case(name, n_prompts):
    """An embedded model and its prompts for ioi."""
    model = load_model(name, device="cpu")
    return model, build_batch(load_task("ioi"), model, n_prompts=n_prompts, seed=0)


class Killed(BaseException):
    """What an interrupt looks like to the code."""


def killed_after(n):
    """A progress callback that interrupts at the n-th report."""
    calls = []

    def progress(stage, done, total):
        calls.append((stage, done, total))
        if len(calls) == n:
            raise Killed

    return progress
