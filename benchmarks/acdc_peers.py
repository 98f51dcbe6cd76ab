"""ACDC and edge attribution beside auto-circuit's own, in processes of their own that take turns."""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from peer_workers.setting import N_HEADS, N_LAYERS
from peers import Worker, make_setting, start
from torch import Tensor

from circuitkit.core.edge import EdgeSpace

CLOCKS = ("seconds", "cpu_seconds")
SINGLE_EDGES = 100


def beside_peers(
    python: str, *, n_prompts: int, taus: list[float], methods: list[str], rounds: int, seed: int
) -> dict[str, Any]:
    """Measure one model and its prompts; `python` has auto-circuit installed."""
    with tempfile.TemporaryDirectory() as name:
        make_setting(Path(name), n_prompts=n_prompts, seed=seed)
        ours = start("acdc_ours", sys.executable, Path(name))
        theirs = start("acdc_auto_circuit", python, Path(name))
        for worker in (ours, theirs):
            if worker.problem:
                raise SystemExit(f"{worker.name} does not start: {worker.problem}")
        rows = [_timed(ours, theirs, method, tau, rounds) for tau in taus for method in methods if method != "eap"]
        rows += [_timed(ours, theirs, "eap", None, rounds)] if "eap" in methods else []
        found = {
            "n_prompts": n_prompts,
            "seed": seed,
            "torch_threads": 1,
            "versions": {worker.name: worker.versions for worker in (ours, theirs)},
            "rows": rows,
            "checks": [_circuits(ours, theirs, row) for row in rows if row["method"] == "acdc"],
        }
        for worker in (ours, theirs):
            worker.process.communicate()
    return found


def _timed(ours: Worker, theirs: Worker, method: str, tau: float | None, rounds: int) -> dict[str, Any]:
    """Ours before and after theirs, as often as `rounds`, theirs once."""
    options = {} if tau is None else {"tau": tau}
    own = method.removesuffix("-joint")
    before = [ours.ask(method=own, **options) for _ in range(rounds)]
    print(f"{method} {options}: ours {before[-1]['seconds']:.2f} s", file=sys.stderr)
    their = theirs.ask(method=method, **options)
    if theirs.problem:
        raise SystemExit(f"{theirs.name}, {method}: {theirs.problem}")
    print(f"{method} {options}: theirs {their['seconds']:.2f} s", file=sys.stderr)
    turns = [*before, *(ours.ask(method=own, **options) for _ in range(rounds))]
    space, a, b = EdgeSpace(N_LAYERS, N_HEADS), torch.tensor(turns[0]["values"]), torch.tensor(their["values"])
    row: dict[str, Any] = {"method": method, "tau": tau, "edges": {"ours": space.n_edges, "theirs": space.n_edges}}
    for clock in CLOCKS:
        times = [turn[clock] for turn in turns]
        row[clock] = {"ours": statistics.median(times), "all of ours": times, "theirs": their[clock]}
        row[f"{clock}_ratio"] = their[clock] / statistics.median(times)
    if method == "acdc-joint":
        row["edges"]["theirs"] = _n_joint(space)
    elif method == "acdc":
        row |= {"kept": {"ours": int(a.sum()), "theirs": int(b.sum())}, "edges that differ": int((a != b).sum())}
        row["edge set"] = {"ours": a.nonzero().tolist(), "theirs": b.nonzero().tolist()}
    else:
        row["largest score"], row["largest difference"] = b.abs().max().item(), (a - b).abs().max().item()
    return row


def _n_joint(space: EdgeSpace) -> int:
    """Edges if a head has one input."""
    rows = torch.tensor([receiver.input in (None, "q") for receiver in space.receivers])
    return int((space.possible & rows[:, None]).sum())


def _circuits(ours: Worker, theirs: Worker, row: dict[str, Any]) -> dict[str, Any]:
    """KL divergences that both measure: of the circuit, and with one edge removed, for some edges evenly spread."""
    possible = EdgeSpace(N_LAYERS, N_HEADS).possible
    kept = torch.zeros_like(possible)
    for receiver, sender in row["edge set"]["ours"]:
        kept[receiver, sender] = True
    edges = possible.nonzero()
    some = edges[:: max(1, len(edges) // SINGLE_EDGES)].tolist()
    removed: list[list[list[int]]] = [(possible & ~kept).nonzero().tolist(), *([edge] for edge in some)]
    a, b = (_values(worker, removed) for worker in (ours, theirs))
    return {
        "tau": row["tau"],
        "KL of the circuit": {"ours": a[0].item(), "theirs": b[0].item()},
        "edges removed alone": len(some),
        "largest KL of one": b[1:].max().item(),
        "largest difference": (a - b)[1:].abs().max().item(),
    }


def _values(worker: Worker, removed: list[list[list[int]]]) -> Tensor:
    answer = worker.ask(method="kl", removed=removed)
    if worker.problem:
        raise SystemExit(f"{worker.name}, kl: {worker.problem}")
    return torch.tensor(answer["values"], dtype=torch.float64)
