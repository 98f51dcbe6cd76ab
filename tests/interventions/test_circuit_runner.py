"""What the runner of circuits does when memory is short, numbers are not finite, or nothing may be kept."""

import pytest
import torch
from brute_force import token_batch
from edge_sets import random_sets

from circuitkit.core.errors import ModelError, OptionError
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.edge_replay import EdgeReplay
from circuitkit.interventions.edge_writes import EdgeWrites

METRICS = ("logit_diff", "kl")


@pytest.fixture
def case(tiny_models):
    model = tiny_models["gpt2"]
    batch = token_batch(model.info.vocab_size, [[6, 6, 6], [5, 5, 4, 4, 4]])
    runner = CircuitRunner(model, batch, metrics=METRICS)
    return model, batch, runner, random_sets(runner.space, (0.2, 0.6, 0.9, 0.97), seed=0)


def same(found, wanted):
    for name in METRICS:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-5, rtol=0)


def rows_seen(monkeypatch, *, most):
    """Watch the rows (sets x prompts) of every call, and run out of memory above `most` of them."""
    seen: list[int] = []
    run = EdgeReplay.run

    def watched(self, kept, tokens=None):
        rows = len(kept) * len(self.rows.ids)
        if rows > most:
            raise torch.OutOfMemoryError("no memory left")
        seen.append(rows)
        return run(self, kept, tokens)

    monkeypatch.setattr(EdgeReplay, "run", watched)
    return seen


@pytest.mark.parametrize("most", [1, 2, 5])
def test_short_memory_halves_sets_and_prompts_and_changes_nothing(case, monkeypatch, most):
    model, batch, runner, kept = case
    wanted = runner.run(kept)
    seen = rows_seen(monkeypatch, most=most)
    same(runner.run(kept), wanted)
    assert max(seen) <= most
    fresh = CircuitRunner(model, batch, metrics=METRICS)
    same(fresh.run(kept), wanted)
    assert max(seen) <= most


def test_no_memory_at_all_is_one_line(case, monkeypatch):
    model, batch, runner, kept = case
    rows_seen(monkeypatch, most=0)
    for run in (lambda: runner.run(kept), lambda: CircuitRunner(model, batch)):
        with pytest.raises(OptionError, match=r"Out of memory .* on one prompt"):
            run()


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_no_more_rows_run_at_a_time_than_asked(case, monkeypatch, batch_size):
    model, batch, runner, kept = case
    wanted = runner.run(kept)
    seen = rows_seen(monkeypatch, most=10**9)
    same(CircuitRunner(model, batch, metrics=METRICS, batch_size=batch_size).run(kept), wanted)
    assert max(seen) <= batch_size


def test_writes_are_kept_only_as_far_as_allowed(case, monkeypatch):
    model, batch, runner, kept = case
    wanted = runner.run(kept)
    monkeypatch.setattr("circuitkit.interventions.circuit_runner.SHARE_KEPT", 0.0)
    kept_bytes: list[int] = []
    change = EdgeWrites.clean_change

    def watched(self, column, space):
        out = change(self, column, space)
        kept_bytes.append(sum(x.numel() for x in self._changes.values()))
        return out

    monkeypatch.setattr(EdgeWrites, "clean_change", watched)
    same(CircuitRunner(model, batch, metrics=METRICS).run(kept), wanted)
    assert kept_bytes and max(kept_bytes) == 0


def test_circuits_whose_logits_are_not_finite_are_refused(case, monkeypatch):
    _, _, runner, kept = case
    run = EdgeReplay.run
    monkeypatch.setattr(EdgeReplay, "run", lambda self, sets, tokens=None: run(self, sets, tokens) * float("inf"))
    with pytest.raises(ModelError, match="not finite numbers in torch.float32"):
        runner.run(kept)


def test_no_sets_give_no_rows(case):
    _, _, runner, kept = case
    assert runner.run(kept[:0])["kl"].shape == (0, 8)
