"""ACDC and edge attribution beside other packages' own, in processes of their own that take turns."""

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
OURS = "acdc_ours"
METHODS = {
    "acdc": "acdc_auto_circuit",
    "acdc-joint": "acdc_auto_circuit",
    "eap": "acdc_auto_circuit",
    "acdc-original": "acdc_original",
}
"""Which worker has it."""
SPACE = EdgeSpace(N_LAYERS, N_HEADS)


def beside_peers(
    pythons: dict[str, str],
    *,
    n_prompts: int,
    taus: list[float],
    methods: list[str],
    rounds: int,
    limit: float,
    seed: int,
) -> dict[str, Any]:
    """Measure one model and its prompts.

    Args:
        pythons: The interpreter of each peer's environment, by its worker: `acdc_auto_circuit`, `acdc_original`.
        n_prompts: How many.
        taus: Thresholds of ACDC.
        methods: What to measure: names from METHODS.
        rounds: How often ours is run before theirs, and after.
        limit: Seconds after which the original ACDC is stopped.
        seed: Of weights and prompts.
    """
    with tempfile.TemporaryDirectory() as name:
        make_setting(Path(name), n_prompts=n_prompts, seed=seed)
        workers = {who: start(who, python, Path(name)) for who, python in {OURS: sys.executable, **pythons}.items()}
        for worker in workers.values():
            if worker.problem:
                raise SystemExit(f"{worker.name} does not start: {worker.problem}")
        chosen = [method for method in methods if METHODS[method] in workers]
        rows = [
            _timed(workers, method, tau, limit, rounds)
            for tau in taus
            for method in chosen
            if method != "eap" or tau == taus[0]
        ]
        found = {
            "n_prompts": n_prompts,
            "seed": seed,
            "torch_threads": 1,
            "versions": {worker.name: worker.versions for worker in workers.values()},
            "rows": rows,
            "checks": [
                _circuits(workers[OURS], workers[METHODS["acdc"]], row) for row in rows if row["method"] == "acdc"
            ],
        }
        for worker in workers.values():
            worker.process.communicate()
    return found


def _timed(workers: dict[str, Worker], method: str, tau: float, limit: float, rounds: int) -> dict[str, Any]:
    """Ours before and after theirs, as often as `rounds`, theirs once."""
    own = {"method": "eap"} if method == "eap" else {"method": "acdc", "tau": tau}
    their_own = own | {"method": "acdc", "limit": limit} if method == "acdc-original" else own | {"method": method}
    before = [_asked(workers[OURS], **own) for _ in range(rounds)]
    print(f"{method}, tau {tau:g}: ours {before[-1]['seconds']:.2f} s", file=sys.stderr)
    their = _asked(workers[METHODS[method]], **their_own)
    print(f"{method}, tau {tau:g}: theirs {their['seconds']:.2f} s", file=sys.stderr)
    turns = [*before, *(_asked(workers[OURS], **own) for _ in range(rounds))]
    row: dict[str, Any] = {"method": method, "tau": None if method == "eap" else tau}
    for clock in CLOCKS:
        times = [turn[clock] for turn in turns]
        row[clock] = {"ours": statistics.median(times), "all of ours": times, "theirs": their[clock]}
        row[f"{clock}_ratio"] = their[clock] / statistics.median(times)
    return row | COMPARED[method](torch.tensor(turns[0]["values"]), torch.tensor(their["values"]))


def _asked(worker: Worker, **request: object) -> dict[str, Any]:
    answer = worker.ask(**request)
    if worker.problem:
        raise SystemExit(f"{worker.name}, {request['method']}: {worker.problem}")
    return answer


def _same_edges(ours: Tensor, theirs: Tensor) -> dict[str, Any]:
    """Circuits of two searches over the same edges in the same order."""
    kept, their = ours[0].bool(), theirs.bool()
    n = int((kept != their).sum())
    return {
        "edges": {"ours": SPACE.n_edges, "theirs": SPACE.n_edges},
        "kept": {"ours": int(kept.sum()), "theirs": int(their.sum())},
        "agreement": f"{n} edges differ",
        "edges that differ": n,
        "edge set": {"ours": kept.nonzero().tolist(), "theirs": their.nonzero().tolist()},
    }


def _joint(_ours: Tensor, _theirs: Tensor) -> dict[str, Any]:
    """A head's three inputs count as one with them, so that circuits cannot be compared."""
    return {
        "edges": {"ours": SPACE.n_edges, "theirs": _n_joint()},
        "agreement": "-",
    }


def _begun(ours: Tensor, theirs: Tensor) -> dict[str, Any]:
    """A search that was stopped, compared where both have the same order: edges into the logits and the last MLP."""
    decided = theirs[0].bool()
    first = decided & (torch.arange(len(SPACE.receivers)) >= len(SPACE.receivers) - 2)[:, None]
    n, apart = int((ours[0] != theirs[1])[first].sum()), (ours[1] - theirs[2])[first].abs().max().item()
    return {
        "edges": {"ours": SPACE.n_edges, "theirs": int(decided.sum())},
        "kept": {"ours": int(ours[0].sum()), "theirs": int(theirs[1].sum())},
        "agreement": f"of the first {int(first.sum())} edges {n} differ, effects to {apart:.0e}",
        "largest difference": apart,
    }


def _scores(ours: Tensor, theirs: Tensor) -> dict[str, Any]:
    largest, apart = theirs.abs().max().item(), (ours - theirs).abs().max().item()
    return {
        "edges": {"ours": SPACE.n_edges, "theirs": SPACE.n_edges},
        "agreement": f"scores up to {largest:.2g} agree to {apart:.0e}",
        "largest score": largest,
        "largest difference": apart,
    }


COMPARED = {"acdc": _same_edges, "acdc-joint": _joint, "acdc-original": _begun, "eap": _scores}


def _n_joint() -> int:
    """Edges if a head has one input."""
    rows = torch.tensor([receiver.input in (None, "q") for receiver in SPACE.receivers])
    return int((SPACE.possible & rows[:, None]).sum())


def _circuits(ours: Worker, theirs: Worker, row: dict[str, Any]) -> dict[str, Any]:
    """KL divergences that both measure: of the circuit, and with one edge removed, for some edges evenly spread."""
    possible = SPACE.possible
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
    return torch.tensor(_asked(worker, method="kl", removed=removed)["values"], dtype=torch.float64)
