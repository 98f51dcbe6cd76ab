r"""Time circuit discovery: ACDC beside its plain algorithm and other packages, pruning beside influence sweeps.

    python benchmarks/discovery.py acdc                                  # toy-gpt2 on ioi
    python benchmarks/discovery.py acdc --model toy-llama --metric kl --tau 0.003 --tau 0.03
    python benchmarks/discovery.py peers --auto-circuit PYTHON --acdc PYTHON
    python benchmarks/discovery.py prune ./SmolLM2-135M-Instruct --task numerals --n-prompts 64

`acdc` finds each circuit in three ways, from the model and the prompts on, in turn: `plain` runs the whole model for
every edge (`sequential=True` and a `plain` runner), `sparse replay` computes only what is behind the edge, one edge at
a time, `many at once` is what `acdc` does by default. The edges must be the same.

`peers` is ACDC with the KL divergence and resample ablation, and edge attribution of the logit difference, on the model
that peers.py makes (6 layers of 8 heads, 8 prompts of 24 tokens), one thread each. auto-circuit counts either the
same 3,628 edges as we do (`acdc`), or 1,372 where a head has one input for its queries, keys and values (`acdc-joint`;
ours decides all 3,628 there too). It tests edges of one layer in an arbitrary order, and is given ours, so that the
circuits can be compared. How its environment was made is said in peers.py. Ours is timed before and after theirs.

`acdc-original` is the code of the method's authors, ArthurConmy/Automatic-Circuit-Discovery (bc99ace8), which would
take very long and is stopped after --limit seconds: the ratio is of that time to our whole search, and `edges` says how
many it had decided. It was written for torch below 2 and transformer-lens 1.6; here it runs unchanged, but without
drawing its graphs, in auto-circuit's environment with `pip install pygraphviz` (which needs Graphviz's headers) and a
.pth file that names its folder.

Not here: EAP-IG's attribution, which puts its scores on a CUDA device whatever the model is on.

`prune` is timed beside two sweeps over all heads and MLPs, in turn.

Seconds are of a wall clock; CPU seconds, summed over cores, are there for machines that are not idle. Ratios are
medians over rounds.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from acdc_peers import METHODS, beside_peers
from acdc_speed import FAST, PLAIN, SPARSE, acdc_row
from prune_cost import prune_row
from rich.console import Console
from rich.table import Table
from shapes import model_and_prompts

from circuitkit.interventions.ablation import Ablation

TAUS = {"kl": (0.001, 0.01, 0.1), "logit_diff": (0.01, 0.1)}
Run = Callable[[argparse.Namespace], list[dict[str, Any]]]
PEER_TAU = 0.001
CONSOLE = Console(width=160)


def run_acdc(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a metric and threshold."""
    model, batch = model_and_prompts(args.model, n_prompts=args.n_prompts, length=20, task=args.task)
    rows = [
        acdc_row(model, batch, metric=metric, tau=tau, ablation=args.ablation, rounds=args.rounds)
        for metric in args.metric or TAUS
        for tau in args.tau or TAUS[metric]
    ]
    table = Table(
        "metric", "tau", "kept", "evaluations", *(f"{way}, s" for way in (PLAIN, SPARSE, FAST)),
        f"{PLAIN} / {FAST}", f"{SPARSE} / {FAST}", "same edges",
        title=f"{args.model}, {args.task}, {len(batch.pairs)} prompts, {args.ablation}; {rows[0].edges} edges; "
        f"{torch.get_num_threads()} threads, median of {args.rounds} rounds; wall (CPU)",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.metric,
            f"{row.tau:g}",
            str(row.kept),
            f"{row.evaluations[FAST]} for {row.evaluations[PLAIN]}",
            *(f"{row.seconds[way]:.2f} ({row.cpu_seconds[way]:.2f})" for way in (PLAIN, SPARSE, FAST)),
            *(f"{row.seconds_ratio[way]:.1f}x ({row.cpu_seconds_ratio[way]:.1f}x)" for way in (PLAIN, SPARSE)),
            f"{row.same_edges}, effects to {row.largest_difference:.0e}",
        )
    CONSOLE.print(table)
    return [asdict(row) for row in rows]


def run_peers(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a method and threshold."""
    pythons = {"acdc_auto_circuit": args.auto_circuit, "acdc_original": args.acdc}
    found = beside_peers(
        {worker: python for worker, python in pythons.items() if python},
        n_prompts=args.n_prompts,
        taus=args.tau or [PEER_TAU],
        methods=args.method or list(METHODS),
        rounds=args.rounds,
        limit=args.limit,
        seed=args.seed,
    )
    table = Table(
        "method", "tau", "edges", "ours, s", "theirs, s", "theirs / ours", "kept", "agreement",
        title=f"{args.n_prompts} prompts; one thread each; ours and theirs; wall (CPU)",
    )  # fmt: skip
    for row in found["rows"]:
        kept, more = row.get("kept"), "> " if row["method"] == "acdc-original" else ""
        table.add_row(
            row["method"],
            "-" if row["tau"] is None else f"{row['tau']:g}",
            f"{row['edges']['ours']}, {row['edges']['theirs']}",
            *(f"{row['seconds'][who]:.2f} ({row['cpu_seconds'][who]:.2f})" for who in ("ours", "theirs")),
            f"{more}{row['seconds_ratio']:.1f}x ({row['cpu_seconds_ratio']:.1f}x)",
            f"{kept['ours']}, {kept['theirs']}" if kept else "-",
            row["agreement"],
        )
    CONSOLE.print(table)
    for check in found["checks"]:
        CONSOLE.print(f"tau {check['tau']:g}:", {name: value for name, value in check.items() if name != "tau"})
    CONSOLE.print(found["versions"])
    return [found]


def run_prune(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a model."""
    rows = list[dict[str, Any]]()
    table = Table(
        "model", "prompts", "kept", "passes", "evaluations", "two sweeps, s", "prune, s", "prune / two sweeps",
        title=f"{args.task}, {args.ablation}, threshold {args.threshold:g}; {torch.get_num_threads()} threads, "
        f"median of {args.rounds} rounds; wall (CPU)",
    )  # fmt: skip
    for name in args.models:
        model, batch = model_and_prompts(name, n_prompts=args.n_prompts, length=20, task=args.task)
        row = prune_row(
            model, batch, ablation=args.ablation, threshold=args.threshold, passes=args.passes, rounds=args.rounds
        )
        table.add_row(
            name,
            str(row.prompts),
            f"{row.kept} of {row.components}",
            str(row.passes),
            str(row.evaluations),
            *(f"{row.seconds[way]:.2f} ({row.cpu_seconds[way]:.2f})" for way in ("two sweeps", "prune")),
            f"{row.seconds_ratio:.2f}x ({row.cpu_seconds_ratio:.2f}x)",
        )
        rows.append(asdict(row))
    CONSOLE.print(table)
    return rows


def main() -> None:
    """Measure, print one table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Run, n_prompts: int) -> argparse.ArgumentParser:
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        sub.add_argument("--n-prompts", type=int, default=n_prompts)
        sub.add_argument("--rounds", type=int, default=3)
        sub.add_argument("--json", type=Path, help="write all figures there")
        return sub

    acdc = command("acdc", run_acdc, n_prompts=32)
    acdc.add_argument("--model", default="toy-gpt2")
    acdc.add_argument("--task", default="ioi")
    acdc.add_argument("--metric", choices=list(TAUS), action="append", help="both if not given")
    acdc.add_argument("--tau", type=float, action="append")
    acdc.add_argument("--ablation", type=Ablation, default=Ablation.RESAMPLE)
    peers = command("peers", run_peers, n_prompts=8)
    peers.add_argument("--auto-circuit", metavar="PYTHON", default="")
    peers.add_argument("--acdc", metavar="PYTHON", default="")
    peers.add_argument("--method", choices=list(METHODS), action="append", help="all if not given")
    peers.add_argument("--limit", type=float, default=120.0, help="stop the original ACDC after so many seconds")
    peers.add_argument("--tau", type=float, action="append")
    peers.add_argument("--seed", type=int, default=0)
    prune = command("prune", run_prune, n_prompts=64)
    prune.add_argument("models", nargs="+", help="embedded models or directories")
    prune.add_argument("--task", default="numerals")
    prune.add_argument("--ablation", type=Ablation, default=Ablation.CORRUPTED_MEAN)
    prune.add_argument("--threshold", type=float, default=0.2)
    prune.add_argument("--passes", type=int)
    args = parser.parse_args()
    found = args.run(args)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")
    if any(not row.get("same_edges", True) for row in found):
        raise SystemExit("Ways of ACDC found different edges; see the table.")


if __name__ == "__main__":
    main()
