r"""Time the replay sweep against the loops that people write by hand, interleaved in one run.

    python benchmarks/sweep.py                                  # the shapes and the toys
    python benchmarks/sweep.py gpt2-shape ./SmolLM2-135M-Instruct --json sweep.json
    python benchmarks/sweep.py ./SmolLM2-135M-Instruct --n-prompts 96 --loop-share 0.03 --screen
    python benchmarks/sweep.py llama-8b-shape minitron-4b-shape --task random --n-prompts 384 --length 30 --no-bridge \
        --loop-share 0.002  # on a GPU

Every head and MLP is ablated, one at a time, on the same prompts, by (ours) the sweep, (a) a loop over
transformer-lens hooks with one bridge forward for every component and batch of prompts, (b) the same loop over raw
Hugging Face modules with forward hooks. In such a loop every component costs the same, so that it may be run for
some of them, evenly spread (--loop-share), and its time scaled up. Results must agree to 1e-4 logits.

Columns: wall times as ratios to ours (median over rounds); `arithmetic`: the ratio that follows from running only
the blocks behind the ablation, and of the last block and the unembedding only the answer (loops also compute on
padding, and where clean and corrupted prompts begin alike the sweep leaves that beginning out); `forwards`: the sweep's
operations in whole forward passes of the same tokens, and their number in a loop; `peak`: the share that the sweep
reaches of the speed of a plain matrix product measured beside it; memory above the model's own. For (c), other
packages, see peers.py.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from loops import bridge_loop, raw_loop
from machine import PeakMemory, flops, gemm_peak, profile, seconds
from rich.console import Console
from rich.table import Table
from shapes import SHAPES, alike_prompts, model_and_prompts
from torch import Tensor

from circuitkit.core.component import Component
from circuitkit.discovery.influence import influence
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.sweep import sweep
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

ON_CPU = ("gpt2-shape", "distilbert-shape", "bert-shape", "toy-gpt2", "toy-bert", "toy-llama")
TOLERANCE = 1e-4
ON_GPU = (*ON_CPU, "llama-8b-shape", "minitron-4b-shape")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one model; times in seconds, memory in bytes."""

    model: str
    dtype: str
    device: str
    threads: int
    components: int
    prompts: int
    tokens: int
    seconds: float
    ratios: dict[str, float]
    screen: dict[str, float] | None
    arithmetic: float
    forwards: float
    share_of_peak: float
    gemm_peak: float
    memory: dict[str, int]
    difference: float
    profile: dict[str, float]


def measure(name: str, args: argparse.Namespace) -> Row:
    """Time all ways, round by round."""
    model, batch = model_and_prompts(name, n_prompts=args.n_prompts, length=args.length, task=args.task)
    few, some = alike_prompts(batch, 8), model.components[:: max(1, round(1 / args.loop_share))]
    loops = {"raw": raw_loop} if args.no_bridge else {"bridge": bridge_loop, "raw": raw_loop}
    ways: dict[str, Callable[[PromptBatch], Tensor]] = {
        "ours": lambda prompts: sweep(model, prompts, ablation=args.ablation).ablated
    } | {way: partial(_looped, loop, model, some, args.ablation) for way, loop in loops.items()}
    for way in ways.values():
        way(few)  # warm up
    times: dict[str, list[float]] = {way: [] for way in ways}
    values, memory, peaks = dict[str, Tensor](), dict[str, int](), list[float]()
    for _ in range(args.rounds):
        peaks.append(gemm_peak(model))
        for name_of_way, way in ways.items():
            with PeakMemory() as used:
                taken, values[name_of_way] = seconds(lambda way=way: way(batch))
            share = 1 if name_of_way == "ours" else len(some) / len(model.components)
            times[name_of_way].append(taken / share)
            memory[name_of_way] = used.bytes
    ours, took, peak = values["ours"], statistics.median(times["ours"]), statistics.median(peaks)
    done = flops(lambda: ways["ours"](few))
    forward = flops(lambda: _forward(model, few)) * int(few.clean.mask.sum()) // few.clean.mask.numel()
    return Row(
        model=name,
        dtype=str(model.dtype).removeprefix("torch."),
        device=torch.cuda.get_device_name() if model.device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        components=len(model.components),
        prompts=len(batch.pairs),
        tokens=int(batch.clean.mask.sum()),
        seconds=took,
        ratios={way: _ratio(times[way], times["ours"]) for way in loops},
        screen=_screened(model, batch, times, args.ablation) if args.screen else None,
        arithmetic=arithmetic(model, few, forward),
        forwards=done / forward,
        share_of_peak=done * int(batch.clean.mask.sum()) / int(few.clean.mask.sum()) / took / peak,
        gemm_peak=peak,
        memory=memory,
        difference=max(
            (ours[[model.components.index(c) for c in some]] - values[way]).abs().max().item() for way in loops
        ),
        profile=profile(lambda: ways["ours"](few)),
    )


def _looped(
    loop: Callable[[HookedModel, PromptBatch, Sequence[Component], Ablation], Tensor],
    model: HookedModel,
    some: Sequence[Component],
    ablation: Ablation,
    prompts: PromptBatch,
) -> Tensor:
    return loop(model, prompts, some, ablation)


def _screened(
    model: HookedModel, batch: PromptBatch, loops: dict[str, list[float]], ablation: Ablation
) -> dict[str, float]:
    """Loops' times as ratios to a screened measurement, and how much of it was exact."""
    taken, found = seconds(lambda: influence(model, batch, method="screen", ablation=ablation, bootstrap=0))
    ratios = {way: statistics.median(times) / taken for way, times in loops.items()}
    return {**ratios, "components measured exactly": int(found.exact.sum())}


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(t / s for t, s in zip(theirs, ours, strict=True))


def _forward(model: HookedModel, batch: PromptBatch) -> None:
    ids, mask = batch.clean.ids.to(model.device), batch.clean.mask.to(model.device)
    with torch.no_grad():
        model.raw(input_ids=ids, attention_mask=mask.long(), **model.family.forward_kwargs)


def arithmetic(model: HookedModel, batch: PromptBatch, forward: int) -> float:
    """Operations of a loop without padding over those of the blocks behind each ablation, by the matrices alone."""
    i, tokens = model.info, int(batch.clean.mask.sum())
    mlp = (3 if i.family == "llama" else 2) * i.d_model * i.d_mlp
    keys_values = 2 * i.d_model * i.n_kv_heads * i.d_head
    attention = 2 * i.d_model * i.n_heads * i.d_head + keys_values

    def behind(component: Component) -> int:
        if component.layer == i.n_layers - 1:
            return 0
        own = mlp if component.head is not None else 0
        return own + (i.n_layers - component.layer - 2) * (attention + mlp) + keys_values

    return forward * len(model.components) / (2 * tokens * sum(behind(c) for c in model.components))


def main() -> None:
    """Measure, print one table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"{', '.join(SHAPES)}, an embedded model or a directory")
    parser.add_argument("--task", default="ioi", help="prompts; random: random tokens, for shapes")
    parser.add_argument("--ablation", type=Ablation, default=Ablation.CORRUPTED_MEAN)
    parser.add_argument("--n-prompts", type=int, default=32)
    parser.add_argument("--length", type=int, default=20, help="tokens of random prompts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop-share", type=float, default=0.25, help="share of the components that loops run")
    parser.add_argument("--no-bridge", action="store_true", help="leave (a) out, as for models that do not fit twice")
    parser.add_argument("--screen", action="store_true", help="also time influence(..., method='screen')")
    parser.add_argument("--json", type=Path, help="write all figures there")
    args = parser.parse_args()
    rows = [measure(name, args) for name in args.models or (ON_GPU if torch.cuda.is_available() else ON_CPU)]
    table = Table(
        "model", "prompts", "ours", "(a) bridge", "(b) raw", "arithmetic", "forwards", "peak", "memory", "difference",
        title=f"{args.task}, {args.ablation}; {torch.get_num_threads()} threads, median of {args.rounds} rounds",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.model,
            f"{row.prompts} x {row.tokens / row.prompts:.0f} tokens",
            f"{row.seconds:.1f} s",
            f"{row.ratios['bridge']:.1f}x" if "bridge" in row.ratios else "-",
            f"{row.ratios['raw']:.1f}x",
            f"{row.arithmetic:.1f}x",
            f"{row.forwards:.0f} of {row.components}",
            f"{row.share_of_peak:.0%}",
            ", ".join(f"{way} {used / 2**20:.0f}" for way, used in row.memory.items()) + " MiB",
            f"{row.difference:.0e}",
        )
    console = Console(width=180)
    console.print(table)
    for row in rows:
        shares = ", ".join(f"{kind} {share:.0%}" for kind, share in row.profile.items())
        if row.screen:
            console.print(f"{row.model}, screened:", ", ".join(f"{what} {x:.1f}" for what, x in row.screen.items()))
        console.print(f"{row.model}: time of the sweep by kind of operator: {shares}")
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    if wrong := [row for row in rows if row.dtype == "float32" and row.difference > TOLERANCE]:
        raise SystemExit(f"{wrong[0].model}: the sweep and the loops differ by {wrong[0].difference:.1e} logits")


if __name__ == "__main__":
    main()
