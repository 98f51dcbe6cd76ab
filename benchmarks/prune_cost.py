"""What iterative node pruning costs, in influence sweeps over the same model and prompts."""

import statistics
from dataclasses import dataclass

from machine import both_clocks
from shapes import alike_prompts

from circuitkit.discovery.prune import Pruned, prune
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.sweep import sweep
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch


@dataclass(frozen=True, kw_only=True)
class PruneRow:
    """One model; ratios are medians over rounds of the pruning's time over that of two sweeps."""

    model: str
    prompts: int
    components: int
    kept: int
    passes: int
    evaluations: int
    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    seconds_ratio: float
    cpu_seconds_ratio: float


def prune_row(
    model: HookedModel, batch: PromptBatch, *, ablation: Ablation, threshold: float, passes: int | None, rounds: int
) -> PruneRow:
    """Two sweeps and a pruning in turn, both from the model and the prompts on."""

    def pruned() -> Pruned:
        return prune(CircuitRunner(model, batch, source=ablation), threshold=threshold, passes=passes)

    few = alike_prompts(batch, 2)
    sweep(model, few, ablation=ablation, components=model.components[:2])  # warm up
    warm = CircuitRunner(model, few, source=ablation)
    warm.run(warm.space.of_nodes(model.components[1:])[None])
    times = {clock: {"prune": list[float](), "two sweeps": list[float]()} for clock in ("seconds", "cpu_seconds")}
    for _ in range(rounds):
        first, _ = both_clocks(lambda: sweep(model, batch, ablation=ablation))
        taken, result = both_clocks(pruned)
        second, _ = both_clocks(lambda: sweep(model, batch, ablation=ablation))
        for clock, of in times.items():
            of["prune"].append(taken[clock])
            of["two sweeps"].append(first[clock] + second[clock])
    return PruneRow(
        model=model.info.name,
        prompts=len(batch.pairs),
        components=len(model.components),
        kept=len(result.nodes),
        passes=result.n_passes,
        evaluations=result.evaluations,
        **{clock: {way: statistics.median(taken) for way, taken in of.items()} for clock, of in times.items()},
        **{
            f"{clock}_ratio": statistics.median(a / b for a, b in zip(of["prune"], of["two sweeps"], strict=True))
            for clock, of in times.items()
        },
    )
