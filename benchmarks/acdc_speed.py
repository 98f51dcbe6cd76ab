"""ACDC with many edges tried at once beside its plain algorithm, round by round."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from machine import both_clocks
from shapes import alike_prompts

from circuitkit.discovery.acdc import Acdc, acdc
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

PLAIN, SPARSE, FAST = "plain", "sparse replay", "many at once"


@dataclass(frozen=True, kw_only=True)
class AcdcRow:
    """One metric and threshold. Times are medians, ratios medians over rounds of a way's time over that of FAST."""

    metric: str
    tau: float
    edges: int
    kept: int
    same_edges: bool
    largest_difference: float
    evaluations: dict[str, int]
    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    seconds_ratio: dict[str, float]
    cpu_seconds_ratio: dict[str, float]


def acdc_ways(
    model: HookedModel, batch: PromptBatch, *, metric: str, tau: float, ablation: str
) -> dict[str, Callable[[], Acdc]]:
    """Three ways to the same circuit, each from the model and the prompts on.

    One edge at a time, everything computed anew; one edge at a time, only what is behind the receiver; many at once.
    """

    def way(*, sequential: bool, plain: bool) -> Acdc:
        runner = CircuitRunner(model, batch, source=ablation, metrics=(metric,), plain=plain)
        return acdc(runner, tau=tau, metric=metric, sequential=sequential)

    return {
        PLAIN: lambda: way(sequential=True, plain=True),
        SPARSE: lambda: way(sequential=True, plain=False),
        FAST: lambda: way(sequential=False, plain=False),
    }


def acdc_row(model: HookedModel, batch: PromptBatch, *, metric: str, tau: float, ablation: str, rounds: int) -> AcdcRow:
    """Time all ways in turn, `rounds` times."""
    for work in acdc_ways(model, alike_prompts(batch, 2), metric=metric, tau=tau, ablation=ablation).values():
        work()  # warm up
    ways = acdc_ways(model, batch, metric=metric, tau=tau, ablation=ablation)
    times = {clock: {way: list[float]() for way in ways} for clock in ("seconds", "cpu_seconds")}
    found = dict[str, Acdc]()
    for _ in range(rounds):
        for way, work in ways.items():
            taken, found[way] = both_clocks(work)
            for clock, value in taken.items():
                times[clock][way].append(value)
    fast, others = found[FAST], (found[PLAIN], found[SPARSE])
    return AcdcRow(
        metric=metric,
        tau=tau,
        edges=int(CircuitRunner(model, batch, source=ablation).space.n_edges),
        kept=int(fast.kept.sum()),
        same_edges=all(torch.equal(fast.kept, other.kept) for other in others),
        largest_difference=max((fast.effects - other.effects).abs().max().item() for other in others),
        evaluations={way: result.evaluations for way, result in found.items()},
        **{clock: {way: statistics.median(taken) for way, taken in times[clock].items()} for clock in times},
        **{f"{clock}_ratio": _ratios(times[clock]) for clock in times},
    )


def _ratios(times: dict[str, list[float]]) -> dict[str, float]:
    """Medians over rounds of each way's time over that of the fast way in the same round."""
    return {
        way: statistics.median(one / fast for one, fast in zip(taken, times[FAST], strict=True))
        for way, taken in times.items()
        if way != FAST
    }
